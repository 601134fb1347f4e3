#include "open_mirror.hpp"

#include <map>
#include <mutex>

#include "mirror.hpp"
#include "platform.hpp"

namespace tally {
namespace {

struct Use {
  std::size_t engines = 0;
  unsigned forks = 0;  ///< Of another number than now: it is the parent's.
};

struct Uses {
  std::mutex mutex{};
  std::map<std::string, Use> by_name{};
};

/// Never destroyed: a host may close an engine as late as it likes.
Uses& uses() {
  static Uses& all = *new Uses;
  return all;
}

}  // namespace

OpenMirror::OpenMirror(const std::filesystem::path& path)
    : name_(utf8(std::filesystem::weakly_canonical(path))) {
  const std::lock_guard lock(uses().mutex);
  Use& use = uses().by_name[name_];
  if (use.engines > 0 && use.forks != platform::forks()) {
    throw Failure{Code::invalid_argument,
                  "this process was forked while its parent had " + name_ +
                      " open; open it before the parent does, or in a process that is executed"};
  }
  use.forks = platform::forks();
  ++use.engines;
}

OpenMirror::~OpenMirror() {
  const std::lock_guard lock(uses().mutex);
  const auto use = uses().by_name.find(name_);
  if (use->second.forks != platform::forks()) return;  // The parent's, which has it open still.
  if (--use->second.engines == 0) uses().by_name.erase(use);
}

}  // namespace tally
