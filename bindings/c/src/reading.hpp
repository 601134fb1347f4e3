#pragma once
// Calls that answer JSON.

#include "answers.hpp"
#include "arguments.hpp"

namespace tally::c {

/// A call that answers JSON: `ask(engine)` brings a Result, `text_of(value)` its text.
template <class Ask, class Text>
tally_code read(const tally_engine* engine, tally_text** json, tally_error* error, Ask ask,
                Text text_of) noexcept {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || json == nullptr) return invalid(error, "engine or json is NULL");
    return answer(error, ask(engine->engine), json,
                  [&](const auto& value) { return new_text(text_of(value)); });
  });
}

/// The same, of what an id names.
template <class Ask, class Text>
tally_code read_of(const tally_engine* engine, const tally_uuid* id, tally_text** json,
                   tally_error* error, Ask ask, Text text_of) noexcept {
  if (id == nullptr) return guarded(error, [&] { return invalid(error, "the id is NULL"); });
  return read(
      engine, json, error, [&](const Engine& asked) { return ask(asked, id_of(*id)); }, text_of);
}

}  // namespace tally::c
