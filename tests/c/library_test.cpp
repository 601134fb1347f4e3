// The library itself: versions, codes, ids, and an error's text.

#include "c/support.hpp"

namespace tally::c_test {
namespace {

TEST_CASE("the library says what it is") {
  CHECK(tally_abi_version() == TALLY_ABI_VERSION);
  CHECK(std::string(tally_version()) == TALLY_VERSION);
  CHECK(std::string(tally_sqlite_version()).starts_with("3."));
}

TEST_CASE("a code has a name, a sentence and a class; one that is not known has them, too") {
  CHECK(std::string(tally_code_name(TALLY_INSUFFICIENT_CREDITS)) == "insufficient_credits");
  CHECK(std::string(tally_code_sentence(TALLY_INSUFFICIENT_CREDITS)) ==
        "The balance does not cover it.");
  CHECK(tally_code_class(TALLY_OK) == TALLY_CLASS_OK);
  CHECK(tally_code_class(TALLY_INSUFFICIENT_CREDITS) == TALLY_CLASS_REFUSAL);
  CHECK(tally_code_class(TALLY_BUSY) == TALLY_CLASS_FAILURE);
  for (const tally_code code : {-1, 6, 115, 32'767, INT32_MAX, INT32_MIN}) {
    CHECK(std::string(tally_code_name(code)) == "unknown");
    CHECK(std::string(tally_code_sentence(code)).empty());
    CHECK(tally_code_class(code) == TALLY_CLASS_FAILURE);
  }
}

TEST_CASE("new ids are of version 7 and increase") {
  tally_uuid last{};
  for (int i = 0; i < 1'000; ++i) {
    tally_uuid id{};
    REQUIRE(tally_uuid_new(&id) == TALLY_OK);
    CHECK((id.bytes[6] >> 4U) == 7);
    CHECK(std::memcmp(last.bytes, id.bytes, sizeof id.bytes) < 0);
    last = id;
  }
  CHECK(tally_uuid_new(nullptr) == TALLY_INVALID_ARGUMENT);
}

TEST_CASE("an id's text goes both ways, and nothing else is one") {
  const std::string text = "019bd56a-38b8-7001-8000-0000000abcde";
  tally_uuid id{};
  REQUIRE(tally_uuid_parse(text.data(), text.size(), &id) == TALLY_OK);
  CHECK(text_of(id) == text);
  const std::string upper = "019BD56A-38B8-7001-8000-0000000ABCDE";
  REQUIRE(tally_uuid_parse(upper.data(), upper.size(), &id) == TALLY_OK);
  CHECK(text_of(id) == text);
  const tally_uuid before = id;
  for (const std::string& bad :
       {text.substr(1), text + "0", std::string("{" + text + "}"), std::string()}) {
    CHECK(tally_uuid_parse(bad.data(), bad.size(), &id) == TALLY_INVALID_ARGUMENT);
  }
  CHECK(tally_uuid_parse(nullptr, 36, &id) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_uuid_parse(text.data(), text.size(), nullptr) == TALLY_INVALID_ARGUMENT);
  CHECK(id == before);
  char nothing[37] = "not touched";
  tally_uuid_format(nullptr, nothing);
  CHECK(std::string(nothing).empty());
  tally_uuid_format(&id, nullptr);
}

TEST_CASE("nothing can be read and freed") {
  CHECK(std::string(tally_text_data(nullptr)).empty());
  CHECK(tally_text_length(nullptr) == 0);
  tally_text_free(nullptr);
  tally_engine_free(nullptr);
  tally_syncer_free(nullptr);
  tally_syncer_stop(nullptr);
}

TEST_CASE("a detail is cut between two characters") {
  const Mirror mirror(0);
  // What is wrong is told with the name that was asked for; each of these is two bytes.
  for (const std::string& prefix : {std::string(), std::string("x")}) {
    std::string name = prefix;
    for (int i = 0; i < 400; ++i) name += "é";
    Told error;
    REQUIRE(mirror.apply({{"op", name}}, nullptr, &error) == TALLY_INVALID_ARGUMENT);
    const std::string detail = error.detail;
    CHECK(detail.size() >= sizeof error.detail - 3);
    CHECK(detail.size() < sizeof error.detail);
    CHECK_NOTHROW(json(detail).dump());  // Throws for what is not UTF-8.
  }
}

}  // namespace
}  // namespace tally::c_test
