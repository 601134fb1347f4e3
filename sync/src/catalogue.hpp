#pragma once
// A database's catalogue, as far as the migrations make it: every object of some schemas by name,
// with a definition that does not say in which schema it is, so that two installations can be
// compared.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "postgres.hpp"

namespace tally::sync {

struct CatalogueObject {
  std::string definition;
  std::string part_of;  ///< The table or function that it belongs to, or nothing.
};

/// By kind (table, column, constraint, index, trigger, policy, function, privilege, type) and name.
using Catalogue = std::map<std::pair<std::string, std::string>, CatalogueObject>;

/// With a search_path other than pg_catalog, names are shortened, and two catalogues may differ.
Result<Catalogue> read_catalogue(Connection& connection, const std::vector<std::string>& schemas);

}  // namespace tally::sync
