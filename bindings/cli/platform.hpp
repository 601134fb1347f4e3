#pragma once
// What the program needs of an operating system beyond what the libraries do: platform_posix.cpp.
// PostgreSQL for `tally demo` is in throwaway_postgres.cpp.

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>

namespace tally::cli {

bool is_terminal_input();
bool is_terminal_output();
bool is_terminal_error();
/// How many characters wide the terminal of the output is; 0: it is none.
std::size_t terminal_columns();

/// A closed output is an error of that write, and does not end the program.
void report_closed_outputs();

/// The first signal to end ends what asks end_is_asked(), and a wait under way; a second one ends
/// the process.
void listen_for_the_end();
bool end_is_asked();
/// Until the socket (-1: none) is ready, the time is over or a signal comes; that may come just
/// before.
void wait_for_socket(int socket, bool readable, bool writable, std::chrono::milliseconds timeout);

/// Whether this user may write to that file or make files in that folder.
bool may_write(const std::filesystem::path& path);
/// A process that has the mirror open; none where the system cannot tell. To be asked before this
/// process opens it: asking may take a process's own locks away.
std::optional<long> process_that_has_open(const std::filesystem::path& mirror);

/// A new folder that is ours alone, for the caller to remove. Throws std::system_error.
std::filesystem::path make_temporary_folder(const char* name);

}  // namespace tally::cli
