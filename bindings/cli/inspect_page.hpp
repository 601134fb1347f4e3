#pragma once
// The inspector's page: its files, which the program carries, and the same as one file.

#include <string>
#include <string_view>

#include "inspect_data.hpp"

namespace tally::cli {

/// A file of the page; 404 for any other name.
HttpAnswer page_file(std::string_view name);
/// The page with all that it is made of, and `kept`, the answers by their addresses, in one text.
std::string single_page(const JsonValue& kept);
/// The answers that a kept page needs: of each list its first page, and what these lead to.
JsonValue kept_answers(InspectData& data);

}  // namespace tally::cli
