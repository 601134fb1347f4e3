#pragma once
// What only an operating system has: random bytes, and files that are their owner's alone.

#include <cstddef>
#include <filesystem>

namespace tally::platform {

/// Fills with random bytes from the system's generator; throws std::system_error.
void random_bytes(void* out, std::size_t size);

/// Makes an empty file that only its owner can read or write; false where one is there already.
/// Throws std::system_error.
bool create_private_file(const std::filesystem::path& path);

}  // namespace tally::platform
