// Devices and leases, as an operator sees them.

#include <charconv>

#include "canonical_impl.hpp"

namespace tally::sync {
namespace {

/// A refusal of one of our functions is its code by name, in the message.
Error named(Error error) {
  for (const Code code :
       {Code::invalid_argument, Code::user_not_found, Code::lease_not_found, Code::unauthorized}) {
    if (error.detail.find(std::string(name_of(code))) == std::string::npos) continue;
    return {code, std::string(row_of(code).sentence)};
  }
  return error;
}

std::string capabilities_of(const std::vector<Capability>& capabilities) {
  std::string out = "{";
  for (const Capability capability : capabilities) {
    if (out.size() > 1) out += ',';
    out += capability_names[static_cast<std::size_t>(capability)];
  }
  return out + "}";
}

}  // namespace

Result<DeviceToken> Canonical::add_device(const NewDevice& device) noexcept {
  return guarded([&]() -> Result<DeviceToken> {
    // Absent ones are empty texts here: neither is a value of theirs.
    const auto rows = impl_->connection.query(
        impl_
            ->here("select d.device_id, d.token from tally_sync.add_device($1, $2::text[], "
                   "nullif($3, '')::uuid,"
                   " nullif($4, '')::bigint * interval '1 second') d")
            .c_str(),
        {text_parameter(device.name), text_parameter(capabilities_of(device.capabilities)),
         text_parameter(device.scope ? device.scope->text() : ""),
         text_parameter(device.reclaim_after ? std::to_string(device.reclaim_after->count())
                                             : "")});
    if (!rows) return named(rows.error());
    return DeviceToken{Uuid::parse(rows->text(0, 0)).value_or(Uuid{}),
                       std::string(rows->text(0, 1))};
  });
}

Result<std::vector<DeviceInfo>> Canonical::devices() noexcept {
  return guarded([&]() -> Result<std::vector<DeviceInfo>> {
    const auto rows = impl_->connection.query(
        impl_
            ->here("select d.device_id, d.name, d.scope_user, d.capabilities::text, d.watermark, "
                   "d.leased,"
                   " d.created_at, d.seen_at, d.revoked_at from tally_sync.list_devices() d")
            .c_str());
    if (!rows) return rows.error();
    const auto number = [&](int row, int column) {
      std::int64_t value = 0;
      const std::string_view text = rows->text(row, column);
      std::from_chars(text.data(), text.data() + text.size(), value);
      return value;
    };
    std::vector<DeviceInfo> devices;
    for (int row = 0; row < rows->count(); ++row) {
      DeviceInfo device;
      device.device_id = Uuid::parse(rows->text(row, 0)).value_or(Uuid{});
      device.name = rows->text(row, 1);
      if (!rows->is_null(row, 2)) device.scope = Uuid::parse(rows->text(row, 2));
      if (const auto capabilities = parse_text_array(rows->text(row, 3))) {
        for (const auto& capability : *capabilities)
          device.capabilities.push_back(capability.value_or(""));
      }
      device.watermark = number(row, 4);
      device.leased = Credits{number(row, 5)};
      device.created_at = rows->text(row, 6);
      device.seen_at = rows->optional_text(row, 7);
      device.revoked_at = rows->optional_text(row, 8);
      devices.push_back(std::move(device));
    }
    return devices;
  });
}

Result<bool> Canonical::revoke_device(const Uuid& device_id) noexcept {
  return guarded([&]() -> Result<bool> {
    const auto rows =
        impl_->connection.query(impl_->here("select tally_sync.revoke_device($1::uuid)").c_str(),
                                {text_parameter(device_id.text())});
    if (!rows) return named(rows.error());
    return true;
  });
}

Result<std::string> Canonical::rotate_token(const Uuid& device_id) noexcept {
  return guarded([&]() -> Result<std::string> {
    const auto rows =
        impl_->connection.query(impl_->here("select tally_sync.rotate_token($1::uuid)").c_str(),
                                {text_parameter(device_id.text())});
    if (!rows) return named(rows.error());
    return std::string(rows->text(0, 0));
  });
}

Result<Credits> Canonical::write_off(const Uuid& lease_id) noexcept {
  return guarded([&]() -> Result<Credits> {
    const auto rows =
        impl_->connection.query(impl_->here("select tally_sync.write_off($1::uuid)").c_str(),
                                {text_parameter(lease_id.text())});
    if (!rows) return named(rows.error());
    std::int64_t value = 0;
    const std::string_view text = rows->text(0, 0);
    std::from_chars(text.data(), text.data() + text.size(), value);
    return Credits{value};
  });
}

}  // namespace tally::sync
