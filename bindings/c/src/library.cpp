// The library itself: versions, codes, ids, and the texts that reading brings.

#include <array>

#include "answers.hpp"
#include "arguments.hpp"

using namespace tally;
using namespace tally::c;

namespace {

/// Of a code that a newer library may know.
constexpr CodeRow unknown_code{Code::internal, "unknown", CodeClass::failure, "", ""};

/// The table's texts are literals, so that they end with a zero.
const CodeRow& row_of_number(tally_code number) noexcept {
  for (const CodeRow& row : codes) {
    if (number_of(row.code) == number) return row;
  }
  return unknown_code;
}

constexpr MetricRow unknown_metric{Metric{}, "unknown", "", MetricKind{}, "", "", ""};

const MetricRow& row_of_metric(int32_t number) noexcept {
  const auto place = static_cast<std::size_t>(number);
  return number >= 0 && place < metrics.size() ? metrics[place] : unknown_metric;
}

}  // namespace

uint32_t tally_abi_version(void) { return TALLY_ABI_VERSION; }
const char* tally_version(void) { return version().data(); }
const char* tally_sqlite_version(void) { return sqlite_version().data(); }

const char* tally_code_name(tally_code code) { return row_of_number(code).name.data(); }
const char* tally_code_sentence(tally_code code) { return row_of_number(code).sentence.data(); }
int32_t tally_code_class(tally_code code) {
  return static_cast<int32_t>(row_of_number(code).code_class);
}

const char* tally_metric_name(int32_t metric) { return row_of_metric(metric).name.data(); }
const char* tally_metric_unit(int32_t metric) { return row_of_metric(metric).unit.data(); }
int32_t tally_metric_kind(int32_t metric) {
  const MetricRow& row = row_of_metric(metric);
  return &row == &unknown_metric ? -1 : static_cast<int32_t>(row.kind);
}

tally_code tally_uuid_new(tally_uuid* id) {
  if (id == nullptr) return TALLY_INVALID_ARGUMENT;
  return guarded(nullptr, [&] {
    *id = id_of(new_uuid_v7());
    return TALLY_OK;
  });
}

tally_code tally_uuid_parse(const char* text, size_t length, tally_uuid* id) {
  if (!is_text(text, length) || id == nullptr) return TALLY_INVALID_ARGUMENT;
  const auto parsed = Uuid::parse(view_of(text, length));
  if (!parsed) return TALLY_INVALID_ARGUMENT;
  *id = id_of(*parsed);
  return TALLY_OK;
}

void tally_uuid_format(const tally_uuid* id, char text[37]) {
  constexpr char digits[] = "0123456789abcdef";
  if (text == nullptr) return;
  *text = '\0';
  if (id == nullptr) return;
  for (std::size_t i = 0; i < sizeof id->bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *text++ = '-';
    *text++ = digits[id->bytes[i] >> 4U];
    *text++ = digits[id->bytes[i] & 15U];
  }
  *text = '\0';
}

const char* tally_text_data(const tally_text* text) {
  return text == nullptr ? "" : text->text.c_str();
}
size_t tally_text_length(const tally_text* text) { return text == nullptr ? 0 : text->text.size(); }
void tally_text_free(tally_text* text) { delete text; }
