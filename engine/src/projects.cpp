// create_project, update_project, delete_project, create_voice_profile, delete_voice_profile.
#include <algorithm>

#include "ledger.hpp"

namespace tally {
namespace {

/// The key of that voice profile, if it is the named user's.
std::optional<std::int64_t> find_voice(Work& work, const Uuid& id) {
  const auto v = work.store.voice_profiles.find_id(id);
  if (!v || work.store.voice_profiles.get(*v).u != work.u()) return std::nullopt;
  return v;
}

}  // namespace

void delete_job(Store& store, std::int64_t j) {
  for (const std::int64_t a : store.assets_of_job(j)) store.erase_for_good(store.assets, a);
  for (int order = 1; order <= step_count; ++order) store.steps.erase(step_key(j, order));
  store.job_texts.erase(j);
  store.job_links.erase(j);
  store.jobs.erase(j);
  store.retire_key(j);  // The job's entries keep its number and so belong to no job.
}

Code apply(Work& work, const CreateProject& op) {
  Store& store = work.store;
  if (!work.user_exists()) return Code::user_not_found;
  ProjectRow project;
  if (op.voice_profile_id) {
    project.v = find_voice(work, *op.voice_profile_id);
    if (!project.v) return Code::voice_profile_not_found;
  }
  if (store.projects.find_id(op.project_id)) return Code::already_exists;
  project.id = op.project_id;
  project.u = work.u();
  project.title = op.title;
  project.prompt_text = op.prompt_text;
  project.niche_preset = op.niche_preset;
  project.target_minutes = op.target_minutes;
  project.transcript_mode = op.transcript_mode.value_or("auto");
  project.transcript_text = op.transcript_text;
  project.settings = op.settings ? op.settings->text : "{}";
  project.created_at = project.updated_at = work.at();
  store.projects.insert(store.new_key(store.projects), std::move(project));
  return Code::ok;
}

Code apply(Work& work, const UpdateProject& op) {
  Store& store = work.store;
  const auto p = store.projects.find_id(op.project_id);
  if (!p) return Code::project_not_found;
  std::optional<std::int64_t> v;
  if (op.voice_profile_id.has_value()) {
    v = find_voice(work, op.voice_profile_id.value());
    if (!v) return Code::voice_profile_not_found;
  }
  if (store.projects.get(*p).u != work.u()) return Code::not_owner;
  ProjectRow& project = store.projects.edit(*p);
  if (op.title) project.title = *op.title;
  if (op.prompt_text) project.prompt_text = *op.prompt_text;
  if (op.niche_preset) project.niche_preset = *op.niche_preset;
  if (op.target_minutes) project.target_minutes = *op.target_minutes;
  if (op.voice_profile_id.present()) project.v = v;
  op.transcript_mode.apply_to(project.transcript_mode);
  op.transcript_text.apply_to(project.transcript_text);
  if (op.settings.present()) {
    project.settings.reset();
    if (op.settings.has_value()) project.settings = op.settings.value().text;
  }
  project.updated_at = work.at();
  return Code::ok;
}

Code apply(Work& work, const DeleteProject& op) {
  Store& store = work.store;
  const auto p = store.projects.find_id(op.project_id);
  if (!p) return Code::project_not_found;
  if (store.projects.get(*p).u != work.u()) return Code::not_owner;
  const auto jobs = store.jobs_of_project(*p);
  const bool holds = std::any_of(jobs.begin(), jobs.end(),
                                 [&](std::int64_t j) { return store.jobs.get(j).hold > 0; });
  if (holds) return Code::illegal_transition;
  for (const std::int64_t j : jobs) delete_job(store, j);
  store.erase_for_good(store.projects, *p);
  return Code::ok;
}

Code apply(Work& work, const CreateVoiceProfile& op) {
  Store& store = work.store;
  if (!work.user_exists()) return Code::user_not_found;
  if (store.voice_profiles.find_id(op.voice_profile_id)) return Code::already_exists;
  VoiceProfileRow voice;
  voice.id = op.voice_profile_id;
  voice.u = work.u();
  voice.name = op.name;
  voice.audio_path = op.audio_path;
  voice.provider = op.provider.value_or("custom");
  voice.voice_id = op.voice_id;
  voice.settings = op.settings ? op.settings->text : "{}";
  voice.created_at = work.at();
  store.voice_profiles.insert(store.new_key(store.voice_profiles), std::move(voice));
  return Code::ok;
}

Code apply(Work& work, const DeleteVoiceProfile& op) {
  Store& store = work.store;
  if (!work.user_exists()) return Code::user_not_found;
  const auto v = store.voice_profiles.find_id(op.voice_profile_id);
  if (!v) return Code::voice_profile_not_found;
  if (store.voice_profiles.get(*v).u != work.u()) return Code::not_owner;
  for (const std::int64_t p : store.projects_with_voice(*v)) {
    ProjectRow& project = store.projects.edit(p);
    project.v.reset();
    project.updated_at = work.at();
  }
  store.erase_for_good(store.voice_profiles, *v);
  return Code::ok;
}

}  // namespace tally
