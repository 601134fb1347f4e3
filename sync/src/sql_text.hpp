#pragma once
// SQL as text: cut into statements, compared whatever its spaces and comments, and moved to another
// schema. It knows PostgreSQL's quoting and comments, and nothing of its grammar.

#include <string>
#include <string_view>
#include <vector>

namespace tally::sync {

/// The statements of a script, each without its semicolon and the spaces around it. Comments stay
/// with the statement that they come before. (Bodies in `begin atomic … end` are not known: none of
/// our files has one.)
std::vector<std::string> split_statements(std::string_view script);

/// What is left of a script without comments, spaces and semicolons: equal for texts that say the
/// same. Quoted texts and function bodies count to the letter.
std::string essence(std::string_view script);

/// The same script for another schema: `public`, `tally` and `tally_sync`, where they name a
/// schema, become `schema` (before a dot, after the word SCHEMA, as a whole literal), also within
/// literals and function bodies. As a role, `public` stays. Statements about the sign-up trigger on
/// auth.users are left out: a cell's users are made by create_user.
std::string moved_to_schema(std::string_view script, const std::string& schema);

}  // namespace tally::sync
