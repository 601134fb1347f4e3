// create_draft, update_draft, claim_draft, purge_expired_drafts.
#include "work.hpp"

namespace tally {
namespace {

constexpr std::int64_t draft_life_s = std::int64_t{7} * 86'400;

bool expired(const DraftRow& draft, Timestamp at) {
  return !draft.u && draft.expires_at && *draft.expires_at <= at;
}

}  // namespace

Code apply(Work& work, const CreateDraft& op) {
  Store& store = work.store;
  if (op.user_id && !work.user_exists()) return Code::user_not_found;
  if (store.drafts.find_id(op.draft_id)) return Code::already_exists;
  DraftRow draft;
  draft.id = op.draft_id;
  draft.session_token = op.session_token;
  if (op.user_id) draft.u = work.u();
  draft.prompt_text = op.prompt_text;
  draft.template_id = op.template_id;
  draft.options = op.options ? op.options->text : "{}";
  draft.created_at = draft.updated_at = work.at();
  draft.expires_at = work.at().plus_seconds(draft_life_s);
  store.drafts.insert(store.new_key(store.drafts), std::move(draft));
  return Code::ok;
}

Code apply(Work& work, const UpdateDraft& op) {
  Store& store = work.store;
  const auto d = store.drafts.find_id(op.draft_id);
  if (!d) return Code::draft_not_found;
  const DraftRow& found = store.drafts.get(*d);
  // The token proves nothing once the draft has a user, and a user nothing before.
  const bool proven = found.u ? op.user_id && found.u == work.u()
                              : op.session_token && *op.session_token == found.session_token;
  if (!proven) return Code::not_owner;
  if (expired(found, work.at())) return Code::draft_expired;
  DraftRow& draft = store.drafts.edit(*d);
  if (op.prompt_text) draft.prompt_text = *op.prompt_text;
  op.template_id.apply_to(draft.template_id);
  if (op.options.present()) {
    draft.options.reset();
    if (op.options.has_value()) draft.options = op.options.value().text;
  }
  draft.updated_at = work.at();
  return Code::ok;
}

Code apply(Work& work, const ClaimDraft& op) {
  Store& store = work.store;
  if (!work.user_exists()) return Code::user_not_found;
  const DraftRow* newest = nullptr;
  for (const std::int64_t d : store.unclaimed_drafts(op.session_token)) {
    if (expired(store.drafts.get(d), work.at())) continue;
    DraftRow& draft = store.drafts.edit(d);
    draft.u = work.u();
    draft.updated_at = work.at();
    const bool newer = newest == nullptr || draft.created_at > newest->created_at ||
                       (draft.created_at == newest->created_at && draft.id > newest->id);
    if (newer) newest = &draft;
  }
  if (newest == nullptr) return Code::draft_not_found;
  work.returns(newest->id);
  return Code::ok;
}

Code apply(Work& work, const PurgeExpiredDrafts&) {
  Store& store = work.store;
  for (const std::int64_t d : store.expired_drafts(work.at()))
    store.erase_for_good(store.drafts, d);
  return Code::ok;
}

}  // namespace tally
