#include <set>

#include "sim/half.hpp"

namespace tally::sim {
namespace {

class ModelHalf : public Half {
 public:
  void set_clock(Timestamp now) override { canonical_.set_clock(now); }
  sync::Answer sync(const sync::Call& call) override { return canonical_.sync(call); }
  bool apply(const std::string& line) override {
    return canonical_.apply(line).find("\"result\":\"ok\"") != std::string::npos;
  }
  sync::DeviceToken add_device(const sync::NewDevice& device) override {
    return canonical_.add_device(device);
  }
  void revoke_device(const Uuid& device_id) override { canonical_.revoke_device(device_id); }
  void write_off(const Uuid& lease_id) override { canonical_.write_off(lease_id); }
  std::vector<Row> rows(const std::string& table, const Uuid& user_id) override {
    if (table == "credit_ledger") return canonical_.entries(user_id);
    std::vector<Row> rows = canonical_.rows(table);
    if (table == "job_steps" || table == "assets") {
      std::set<std::string> jobs;
      for (const Row& job : this->rows("jobs", user_id)) jobs.insert(*job[0]);
      std::erase_if(rows, [&](const Row& row) { return !jobs.contains(*row[1]); });
      return rows;
    }
    const std::size_t user = table == "profiles"                           ? 0
                             : table == "jobs" || table == "draft_prompts" ? 2
                                                                           : 1;
    std::erase_if(rows, [&](const Row& row) { return row[user] != user_id.text(); });
    return rows;
  }
  std::vector<TableDigest> digest(const Uuid& user_id) override {
    return canonical_.digest(user_id);
  }
  std::vector<Lease> open_leases() override { return canonical_.open_leases(); }
  std::vector<Account> accounts() override { return canonical_.accounts(); }
  std::shared_ptr<const void> backup() override {
    return std::make_shared<const model::Canonical>(canonical_);
  }
  void restore(const std::shared_ptr<const void>& backup) override {
    canonical_ = *static_cast<const model::Canonical*>(backup.get());
    canonical_.reseed(++restored_);
  }

 private:
  model::Canonical canonical_{0};
  std::uint64_t restored_ = 0;
};

}  // namespace

std::unique_ptr<Half> make_model_half() { return std::make_unique<ModelHalf>(); }

}  // namespace tally::sim
