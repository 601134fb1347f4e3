#include "model.hpp"

#include "state.hpp"

namespace tally::model {

class Model::State final : public half::State {};

Model::Model() : state_(std::make_unique<State>()) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

std::string Model::apply(std::string_view line) { return state_->apply(line); }
std::vector<Model::Row> Model::rows(std::string_view table) const { return state_->rows(table); }
std::optional<Model::JobView> Model::job(const std::string& job_id) const {
  return state_->job(job_id);
}
std::optional<Model::AccountView> Model::account(const std::string& user_id) const {
  return state_->account(user_id);
}

std::optional<std::string> jsonb_text(std::string_view text) {
  const std::optional<half::Json> value = half::parse_json(text);
  return value ? half::jsonb(*value) : std::nullopt;
}

}  // namespace tally::model
