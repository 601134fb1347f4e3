#pragma once
// Files that are made from the tables and kept in the repository: written, or compared.

#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

namespace tally {

/// With `check` false where the file is not that text, which is said on standard error with
/// `remedy`; else where it cannot be written.
inline bool write_or_check(const std::string& path, const std::string& text, bool check,
                           const char* remedy) {
  if (!check) {
    std::ofstream out(path, std::ios::binary);
    out << text;
    if (!out.flush()) std::cerr << "cannot write " << path << '\n';
    return out.good();
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream found;
  found << in.rdbuf();
  if (found.str() == text) return true;
  std::cerr << path << " is not what the tables say; " << remedy << '\n';
  return false;
}

}  // namespace tally
