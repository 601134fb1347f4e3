#include "receipts.hpp"

#include "arguments.hpp"
#include "structs.hpp"

namespace tally::c {

bool is_callable(const tally_engine* engine, const tally_receipt* receipt,
                 std::string_view& wrong) noexcept {
  if (engine == nullptr) {
    wrong = "engine is NULL";
  } else if (receipt != nullptr && !has_known_size(receipt)) {
    wrong = "tally_receipt: struct_size is none that this library knows";
  }
  return wrong.empty();
}

void write_receipt(tally_receipt* receipt, const Uuid& op_id, const std::optional<Credits>& balance,
                   const std::optional<Uuid>& id) noexcept {
  if (receipt == nullptr) return;
  tally_receipt told = TALLY_RECEIPT_INIT;
  told.op_id = id_of(op_id);
  if (balance) {
    told.flags |= TALLY_RECEIPT_BALANCE;
    told.balance = balance->value;
  }
  if (id) {
    told.flags |= TALLY_RECEIPT_ID;
    told.id = id_of(*id);
  }
  write_struct(receipt, told);
}

}  // namespace tally::c
