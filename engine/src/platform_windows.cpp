// Windows 10 or later.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
// After windows.h, which they need.
#include <aclapi.h>
#include <bcrypt.h>

#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "platform.hpp"

namespace tally::platform {
namespace {

[[noreturn]] void fail(DWORD error, const std::string& what) {
  throw std::system_error(static_cast<int>(error), std::system_category(), what);
}
[[noreturn]] void fail_at(const std::filesystem::path& path, DWORD error) {
  const std::u8string name = path.u8string();
  fail(error, std::string(name.begin(), name.end()));
}

/// BCrypt fails for want of memory, or where the system is broken.
void check(NTSTATUS status, const char* what) {
  if (status < 0) fail(ERROR_NOT_ENOUGH_MEMORY, what);
}

struct CloseHandleOf {
  void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using Handle = std::unique_ptr<void, CloseHandleOf>;

/// The user that this process (or, where a server acts for somebody, this thread) runs as.
std::vector<unsigned char> current_user() {
  HANDLE opened = nullptr;
  if (OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, &opened) == 0 &&
      OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &opened) == 0) {
    fail(GetLastError(), "no token of this process");
  }
  const Handle token(opened);
  DWORD size = 0;
  GetTokenInformation(token.get(), TokenUser, nullptr, 0, &size);
  std::vector<unsigned char> user(size);
  if (GetTokenInformation(token.get(), TokenUser, user.data(), size, &size) == 0) {
    fail(GetLastError(), "no user of this process");
  }
  return user;
}

/// All rights for the current user, none for anybody else, and none from the folder: what 0600 is
/// elsewhere. An administrator can take the file over, as root can.
class OwnersAlone {
 public:
  OwnersAlone() : user_(current_user()) {
    EXPLICIT_ACCESSW access{};
    access.grfAccessPermissions = FILE_ALL_ACCESS;
    access.grfAccessMode = SET_ACCESS;
    access.grfInheritance = NO_INHERITANCE;
    access.Trustee.TrusteeForm = TRUSTEE_IS_SID;
    access.Trustee.TrusteeType = TRUSTEE_IS_USER;
    access.Trustee.ptstrName =
        static_cast<LPWSTR>(reinterpret_cast<TOKEN_USER*>(user_.data())->User.Sid);
    ACL* made = nullptr;
    const DWORD error = SetEntriesInAclW(1, &access, nullptr, &made);
    if (error != ERROR_SUCCESS) fail(error, "no access list");
    list_.reset(made);
    InitializeSecurityDescriptor(&descriptor_, SECURITY_DESCRIPTOR_REVISION);
    SetSecurityDescriptorDacl(&descriptor_, TRUE, list_.get(), FALSE);
    SetSecurityDescriptorControl(&descriptor_, SE_DACL_PROTECTED, SE_DACL_PROTECTED);
  }
  SECURITY_ATTRIBUTES* attributes() noexcept { return &attributes_; }

 private:
  struct Free {
    void operator()(ACL* list) const noexcept { LocalFree(list); }
  };
  std::vector<unsigned char> user_;
  std::unique_ptr<ACL, Free> list_{};
  SECURITY_DESCRIPTOR descriptor_{};
  SECURITY_ATTRIBUTES attributes_{sizeof attributes_, &descriptor_, FALSE};
};

constexpr DWORD everybody = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

struct Opened {
  Handle file;  ///< Null where there is an error.
  DWORD error;
};
Opened open_private(const std::filesystem::path& path, DWORD how) {
  OwnersAlone rights;
  HANDLE file = CreateFileW(path.c_str(), GENERIC_READ | GENERIC_WRITE, everybody,
                            rights.attributes(), how, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) return {nullptr, GetLastError()};
  return {Handle(file), ERROR_SUCCESS};
}

}  // namespace

void random_bytes(void* out, std::size_t size) {
  check(BCryptGenRandom(nullptr, static_cast<UCHAR*>(out), static_cast<ULONG>(size),
                        BCRYPT_USE_SYSTEM_PREFERRED_RNG),
        "no random bytes");
}

Sha256 sha256(std::string_view bytes) {
  static const BCRYPT_ALG_HANDLE algorithm = [] {
    BCRYPT_ALG_HANDLE opened = nullptr;
    check(BCryptOpenAlgorithmProvider(&opened, BCRYPT_SHA256_ALGORITHM, nullptr, 0), "no SHA-256");
    return opened;
  }();
  Sha256 hash{};
  // BCrypt takes it for writable, and does not write.
  auto* input = reinterpret_cast<UCHAR*>(const_cast<char*>(bytes.data()));
  check(BCryptHash(algorithm, nullptr, 0, input, static_cast<ULONG>(bytes.size()), hash.data(),
                   static_cast<ULONG>(hash.size())),
        "no SHA-256");
  return hash;
}

unsigned forks() noexcept { return 0; }

// Large pages are a privilege of the account here, and are never swapped out: not a library's to
// ask for.
void prefer_large_pages(void*, std::size_t) noexcept {}

void sleep_on(const std::atomic<int>& address, int value) noexcept {
  static_assert(sizeof(address) == sizeof(int) && std::atomic<int>::is_always_lock_free);
  // Whatever it says, the caller looks again.
  WaitOnAddress(const_cast<std::atomic<int>*>(&address), &value, sizeof value, INFINITE);
}
void wake_one(const std::atomic<int>& address) noexcept {
  WakeByAddressSingle(const_cast<std::atomic<int>*>(&address));
}

bool create_private_file(const std::filesystem::path& path) {
  const auto [file, error] = open_private(path, CREATE_NEW);
  if (file) return true;
  if (error == ERROR_FILE_EXISTS || error == ERROR_ALREADY_EXISTS) return false;
  fail_at(path, error);
}

void sync_file(const std::filesystem::path& path) {
  const HANDLE handle = CreateFileW(path.c_str(), GENERIC_WRITE,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  const bool synced = handle != INVALID_HANDLE_VALUE && FlushFileBuffers(handle) != 0;
  const DWORD error = GetLastError();
  if (handle != INVALID_HANDLE_VALUE) CloseHandle(handle);
  if (!synced)
    throw std::system_error(static_cast<int>(error), std::system_category(), path.string());
}

void rename_synced(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) ==
      0)
    throw std::system_error(static_cast<int>(GetLastError()), std::system_category(), to.string());
}

bool FileLock::try_take(const std::filesystem::path& path) {
  if (held()) return true;
  auto [file, error] = open_private(path, OPEN_ALWAYS);
  if (!file) fail_at(path, error);
  OVERLAPPED at_start{};
  if (LockFileEx(file.get(), LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
                 &at_start) != 0) {
    handle_ = reinterpret_cast<std::intptr_t>(file.release());
    return true;
  }
  error = GetLastError();
  if (error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING) return false;
  fail_at(path, error);
}

void FileLock::release() noexcept {
  if (held()) CloseHandle(reinterpret_cast<HANDLE>(handle_));
  handle_ = none;
}

}  // namespace tally::platform
