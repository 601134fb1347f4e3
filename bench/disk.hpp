#pragma once
// How fast the disk is at the moment, which it is not always.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "support.hpp"

namespace tally::bench {

/// What a write of 4 KiB to this disk and fdatasync takes, again and again.
class Disk {
 public:
  explicit Disk(const std::filesystem::path& folder)
      : file_(open((folder / "disk").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    for (off_t at = 0; at < bytes; at += page) write(at);
    fdatasync(file_);
  }
  ~Disk() { close(file_); }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  /// So many microseconds are added.
  void sync(int times, std::vector<double>& us) {
    for (int i = 0; i < times; ++i) {
      const auto start = Clock::now();
      write(page * (next_++ % (bytes / page)));
      if (fdatasync(file_) != 0) throw std::runtime_error("fdatasync failed");
      us.push_back(seconds_since(start) * 1e6);
    }
  }

 private:
  static constexpr off_t page = 4'096;
  static constexpr off_t bytes = page * 256;
  void write(off_t at) {
    char data[page];
    std::memset(data, static_cast<int>(next_ & 0x7f), sizeof data);
    if (pwrite(file_, data, sizeof data, at) != page) throw std::runtime_error("pwrite failed");
  }
  int file_;
  off_t next_ = 0;
};

}  // namespace tally::bench
