#include "inspect_page.hpp"

#include <openssl/evp.h>

#include <array>
#include <stdexcept>

#include "manual.hpp"
#include "sql/inspector.hpp"

namespace tally::cli {
namespace {

/// In an order in which each finds what it imports above it.
constexpr std::array<std::string_view, 7> modules{"dom.js",   "source.js", "chart.js", "lists.js",
                                                  "pages.js", "keys.js",   "main.js"};
constexpr std::string_view style_link = "<link rel=\"stylesheet\" href=\"inspector.css\">";
constexpr std::string_view script_link = "<script type=\"module\" src=\"main.js\"></script>";
constexpr std::string_view policy_mark = "<!-- policy of the kept page -->";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string_view type_of(std::string_view name) {
  if (ends_with(name, ".js")) return "text/javascript; charset=utf-8";
  if (ends_with(name, ".css")) return "text/css; charset=utf-8";
  return "text/html; charset=utf-8";
}

std::string_view source_of(std::string_view name) {
  for (const sql::EmbeddedFile& file : inspector::files) {
    if (file.name == name) return file.text;
  }
  throw std::logic_error("the program does not carry " + std::string(name));
}

void replace(std::string& text, std::string_view what, std::string_view by) {
  const std::size_t place = text.find(what);
  if (place == std::string::npos) throw std::logic_error("the page has no " + std::string(what));
  text.replace(place, what.size(), by);
}

/// All modules as one, which needs nothing imported.
std::string one_script() {
  constexpr std::string_view export_word = "export ";
  std::string script;
  for (const std::string_view name : modules) {
    for (const std::string& line : split(source_of(name), "\n")) {
      const bool is_exported = line.compare(0, export_word.size(), export_word) == 0;
      if (line.compare(0, 7, "import ") != 0)
        script += line.substr(is_exported ? export_word.size() : 0) + "\n";
    }
  }
  return script;
}

/// `'sha256-…'`, by which a policy lets an inline text run.
std::string hash_source(std::string_view text) {
  std::array<unsigned char, 32> hash{};
  EVP_Digest(text.data(), text.size(), hash.data(), nullptr, EVP_sha256(), nullptr);
  std::array<unsigned char, 45> base64{};
  EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(hash.size()));
  return "'sha256-" + std::string(base64.begin(), base64.end() - 1) + "'";
}

/// JSON that may stand within a script element: there is no `<` in it that could end one.
std::string data_text(const JsonValue& value) {
  std::string out;
  for (const char c : value.dump(-1, ' ', true, JsonValue::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

HttpAnswer page_file(std::string_view name) {
  const std::string_view file = name.empty() ? "index.html" : name;
  for (const sql::EmbeddedFile& each : inspector::files) {
    if (each.name == file) return {200, std::string(type_of(file)), std::string(each.text)};
  }
  return {404, "text/plain; charset=utf-8", "there is nothing under this address\n"};
}

std::string single_page(const JsonValue& kept) {
  const std::string script = one_script();
  const std::string style(source_of("inspector.css"));
  std::string page(source_of("index.html"));
  replace(page, policy_mark,
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src " +
              hash_source(script) + "; style-src " + hash_source(style) +
              "; img-src data:; base-uri 'none'; form-action 'none'; "
              "require-trusted-types-for 'script'; trusted-types 'none'\">");
  replace(page, style_link, "<style>" + style + "</style>");
  replace(page, script_link,
          "<script type=\"application/json\" id=\"kept\">" + data_text(kept) +
              "</script>\n<script type=\"module\">" + script + "</script>");
  return page;
}

JsonValue kept_answers(InspectData& data) {
  JsonValue kept = JsonValue::object();
  const auto keep = [&](const std::string& path) -> const JsonValue& {
    kept[path] = data.value(path, {});
    return kept[path];
  };
  for (const char* path : {"audit", "overview", "outbox", "rejected", "sync"}) keep(path);
  // Copies: what is kept moves while more is.
  const JsonValue accounts = keep("accounts");
  for (const JsonValue& account : accounts.at("rows")) {
    const std::string id = account.at("user_id");
    for (const char* of : {"account/", "entries/", "chart/"}) keep(of + id);
  }
  const JsonValue jobs = keep("jobs");
  for (const JsonValue& job : jobs.at("rows")) {
    const std::string id = job.at("job_id");
    for (const char* of : {"job/", "why/"}) keep(of + id);
  }
  return kept;
}

}  // namespace tally::cli
