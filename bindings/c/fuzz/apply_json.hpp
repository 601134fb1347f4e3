#pragma once
// What must hold for any bytes that tally_apply() is given. libFuzzer and the ordinary test share
// it.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "tally.h"

namespace tally::fuzz {

/// A mirror with some work in it, to which anything is applied. What does not hold throws
/// std::logic_error with what it is and the bytes.
class ApplyJson {
 public:
  /// Makes the mirror, and makes it anew when it has become slow to look at.
  explicit ApplyJson(std::filesystem::path path);

  /// No crash; what is refused changed nothing; what is ok is an operation that goes through a
  /// trace's line and back, and has no effect when it comes again.
  tally_code run(std::string_view json);

 private:
  struct Close {
    void operator()(tally_engine* engine) const { tally_engine_free(engine); }
  };
  void make();
  void must_apply(const std::string& json);
  /// Everything that a refusal could have changed: how many operations there are, and each user's
  /// digest.
  std::string state() const;
  void check_round_trip(std::string_view json, const tally_receipt& receipt);

  std::filesystem::path path_;
  std::unique_ptr<tally_engine, Close> engine_{};
  std::size_t applied_ = 0;
  std::string state_{};  ///< After the latest.
};

}  // namespace tally::fuzz
