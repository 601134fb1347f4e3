#pragma once
// Calls that write, each on a mirror as the ones before it left it: where a fault is to come, and
// what is to be there when it is over.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "support/fixture.hpp"

namespace tally::test {

/// One line of every kind of operation, each ok on what those before it left; but for the lease
/// operations, which are a device's alone (device_steps.hpp).
const Rows& all_operations();

struct Step {
  std::string name;
  /// Answers as text. It has memory for what it does by itself.
  std::function<Result<std::string>(Engine&)> call;
  struct Nature {
    /// Called once more where it was ok, it answers the same and leaves all as it is.
    bool repeats = false;
    /// What it has done is on disk when it returns, in either durability.
    bool is_synced = false;
  } nature{};

  // What Steps::record() finds out.
  std::filesystem::path before{};  ///< A mirror that nobody has open.
  Dump rows_before{};
  Dump rows_after{};
  std::string told_before{};
  std::string told_after{};
  std::string answer{};
};

class Steps {
 public:
  const std::vector<Step>& all() const { return all_; }
  const Step& last() const { return all_.back(); }
  /// Of an engine that makes the calls; it waits for nobody.
  const Options& options() const { return options_; }
  Options options(Durability durability) const;

 protected:
  explicit Steps(const Options& options);
  /// Makes the call on what is there, and remembers what was before and is behind it.
  void record(Step step);
  void record_line(const std::string& short_line, const std::string& answer);
  TemporaryMirror& mirror() { return mirror_; }

 private:
  TemporaryFolder folder_;
  Options options_;
  TemporaryMirror mirror_;
  std::vector<Step> all_;
};

/// All operations, on a mirror without a device.
class OperationSteps : public Steps {
 public:
  OperationSteps();
};

/// The digests of every user, as text.
std::string all_digests(const Engine& engine);
/// All that an engine tells of its accounts, from memory and from the file, and of its device.
std::string all_told(Engine& engine);

/// The next one to try: the short form leaves out ever more of them.
int sparsely_after(int nth);

}  // namespace tally::test
