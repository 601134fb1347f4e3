#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
// After windows.h, which they need.
#include <aclapi.h>
#include <sddl.h>

#include <doctest/doctest.h>

#include <cstdlib>
#include <cwchar>
#include <iostream>
#include <stdexcept>

#include "support/system.hpp"

namespace tally::test {

// ---- processes ----------------------------------------------------------------------------------

namespace {
HANDLE as_handle(std::intptr_t value) { return reinterpret_cast<HANDLE>(value); }
std::intptr_t as_value(HANDLE handle) { return reinterpret_cast<std::intptr_t>(handle); }

constexpr DWORD killed_status = 0x6b696c6c;

std::optional<std::uint64_t> read_value(std::intptr_t from) {
  std::uint64_t value = 0;
  DWORD had = 0;
  while (had < sizeof value) {
    DWORD n = 0;
    auto* at = reinterpret_cast<char*>(&value) + had;
    if (ReadFile(as_handle(from), at, static_cast<DWORD>(sizeof value) - had, &n, nullptr) == 0 ||
        n == 0) {
      return std::nullopt;
    }
    had += n;
  }
  return value;
}
bool write_value(std::intptr_t to, std::uint64_t value) {
  DWORD n = 0;
  return WriteFile(as_handle(to), &value, sizeof value, &n, nullptr) != 0 && n == sizeof value;
}

/// The body is told by its place in the program, which is the same in the child.
std::intptr_t program_start() { return as_value(GetModuleHandleW(nullptr)); }

/// What the child is given goes by this variable, which it inherits: numbers and texts, each on a
/// line of its own.
constexpr const wchar_t* given_variable = L"TALLY_TEST_CHILD";

std::wstring text_of(ChildProcess::Body body, HANDLE in, HANDLE out,
                     const ChildProcess::Given& given) {
  std::wstring text;
  text += std::to_wstring(reinterpret_cast<std::intptr_t>(body) - program_start()) + L'\n';
  text += std::to_wstring(as_value(in)) + L'\n' + std::to_wstring(as_value(out)) + L'\n';
  text += given.path.wstring() + L'\n';
  text += std::wstring(given.text.begin(), given.text.end()) + L'\n';
  for (const std::uint64_t number : given.numbers) text += std::to_wstring(number) + L'\n';
  return text;
}

std::vector<std::wstring> lines_of_variable() {
  std::wstring text(32'767, L'\0');
  text.resize(GetEnvironmentVariableW(given_variable, text.data(), 32'767));
  std::vector<std::wstring> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find(L'\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

/// Pipes are nobody's to inherit but the one child's: its end, while it is started.
struct Pipe {
  HANDLE read = nullptr;
  HANDLE write = nullptr;
  Pipe() {
    if (CreatePipe(&read, &write, nullptr, 1U << 20U) == 0) throw std::runtime_error("no pipe");
  }
};
void let_inherit(HANDLE handle) {
  SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
}
}  // namespace

// Started by ChildProcess with nothing but this.
TEST_CASE("a child process of another test" * doctest::skip()) {
  const std::vector<std::wstring> lines = lines_of_variable();
  REQUIRE(lines.size() >= 5);
  const auto body = reinterpret_cast<ChildProcess::Body>(program_start() + std::stoll(lines[0]));
  const ChildProcess::Pipes pipes(std::stoll(lines[1]), std::stoll(lines[2]));
  ChildProcess::Given given{lines[3], {}, {lines[4].begin(), lines[4].end()}};
  for (std::size_t i = 5; i < lines.size(); ++i) given.numbers.push_back(std::stoull(lines[i]));
  int status = 91;
  try {
    status = body(pipes, given);
  } catch (...) {
  }
  std::_Exit(status);
}

bool ChildProcess::Pipes::wait() const { return read_value(in_).has_value(); }
void ChildProcess::Pipes::write(std::uint64_t value) const {
  if (!write_value(out_, value)) std::_Exit(90);
}

ChildProcess::ChildProcess(Body body, const Given& given) {
  const Pipe down;
  const Pipe up;
  let_inherit(down.read);
  let_inherit(up.write);
  std::cout.flush();
  std::wstring program(32'767, L'\0');
  program.resize(GetModuleFileNameW(nullptr, program.data(), 32'767));
  std::wstring command = L"\"" + program +
                         L"\" \"--test-case=a child process of another test\" --no-skip "
                         L"--no-version";
  SetEnvironmentVariableW(given_variable, text_of(body, down.read, up.write, given).c_str());
  STARTUPINFOW start{};
  start.cb = sizeof start;
  PROCESS_INFORMATION made{};
  const BOOL started = CreateProcessW(program.c_str(), command.data(), nullptr, nullptr, TRUE, 0,
                                      nullptr, nullptr, &start, &made);
  SetEnvironmentVariableW(given_variable, nullptr);
  CloseHandle(down.read);
  CloseHandle(up.write);
  out_ = as_value(down.write);
  in_ = as_value(up.read);
  if (started == 0) throw std::runtime_error("no child process");
  CloseHandle(made.hThread);
  process_ = as_value(made.hProcess);
}

ChildProcess::~ChildProcess() {
  if (process_ != none) {
    kill_now();
    wait();
  }
  CloseHandle(as_handle(in_));
  CloseHandle(as_handle(out_));
}

void ChildProcess::go_on() const {
  if (!write_value(out_, 1)) throw std::runtime_error("the child process has gone");
}
std::optional<std::uint64_t> ChildProcess::read() const { return read_value(in_); }
void ChildProcess::kill_now() { TerminateProcess(as_handle(process_), killed_status); }
int ChildProcess::wait() {
  DWORD status = 0;
  if (WaitForSingleObject(as_handle(process_), INFINITE) != WAIT_OBJECT_0 ||
      GetExitCodeProcess(as_handle(process_), &status) == 0) {
    return -1000;
  }
  CloseHandle(as_handle(process_));
  process_ = none;
  return status == killed_status ? killed : static_cast<int>(status);
}

// ---- files --------------------------------------------------------------------------------------

EverybodysFolder::EverybodysFolder(const std::filesystem::path& folder) {
  PSECURITY_DESCRIPTOR rights = nullptr;
  // Everybody may do everything, in what is made inside, too.
  if (ConvertStringSecurityDescriptorToSecurityDescriptorW(L"D:(A;OICI;FA;;;WD)", SDDL_REVISION_1,
                                                           &rights, nullptr) == 0 ||
      SetFileSecurityW(folder.c_str(), DACL_SECURITY_INFORMATION, rights) == 0) {
    throw std::runtime_error("no rights for everybody");
  }
  LocalFree(rights);
}
EverybodysFolder::~EverybodysFolder() = default;

std::string others_who_may_use(const std::filesystem::path& file) {
  PSECURITY_DESCRIPTOR rights = nullptr;
  PSID owner = nullptr;
  PACL list = nullptr;
  if (GetNamedSecurityInfoW(file.c_str(), SE_FILE_OBJECT,
                            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, nullptr,
                            &list, nullptr, &rights) != ERROR_SUCCESS) {
    return "unknown";
  }
  std::string text = list == nullptr ? "everybody" : "";
  for (DWORD i = 0; list != nullptr && i < list->AceCount; ++i) {
    void* entry = nullptr;
    if (GetAce(list, i, &entry) == 0) return "unknown";
    const auto* allowed = static_cast<ACCESS_ALLOWED_ACE*>(entry);
    PSID who = const_cast<DWORD*>(&allowed->SidStart);
    const bool uses = (allowed->Mask & (FILE_READ_DATA | FILE_WRITE_DATA)) != 0;
    // The system itself may do everything everywhere, as root may.
    const bool is_other = EqualSid(who, owner) == 0 && IsWellKnownSid(who, WinLocalSystemSid) == 0;
    if (allowed->Header.AceType != ACCESS_ALLOWED_ACE_TYPE || !uses || !is_other) continue;
    LPSTR name = nullptr;
    if (ConvertSidToStringSidA(who, &name) == 0) return "unknown";
    text += std::string(name) + " ";
    LocalFree(name);
  }
  LocalFree(rights);
  return text;
}

std::string why_no_file_size_limit() { return "Windows has no limit on the sizes of files"; }
bool limit_file_sizes(std::optional<std::uint64_t>) { return false; }

// ---- users, programs ----------------------------------------------------------------------------

std::string why_not_nobody() { return "Windows has no user without rights to become"; }
bool become_nobody() { return false; }

std::optional<std::string> ask_sqlite3_program(const std::filesystem::path&, const std::string&) {
  return std::nullopt;
}

}  // namespace tally::test
