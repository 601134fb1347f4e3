#include "sql_text.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "tally/sync.hpp"

namespace tally::sync {
namespace {

enum class Kind { space, comment, word, literal, quoted_name, body, symbol };

struct Token {
  Kind kind;
  std::string_view text;
};

bool is_word_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_word(char c) {
  return is_word_start(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '$';
}
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

/// Where the quote that opens at `start` ends. A backslash escapes in E'…' alone.
std::size_t end_of_quote(std::string_view text, std::size_t start, bool escapes) {
  const char quote = text[start];
  std::size_t i = start + 1;
  while (i < text.size()) {
    const bool is_quote = text[i] == quote;
    const bool is_doubled = is_quote && i + 1 < text.size() && text[i + 1] == quote;
    if (is_quote && !is_doubled) return i + 1;
    i += is_doubled || (escapes && text[i] == '\\') ? 2 : 1;
  }
  return text.size();
}

/// Block comments nest.
std::size_t end_of_comment(std::string_view text, std::size_t start) {
  int depth = 0;
  std::size_t i = start;
  while (i + 1 < text.size()) {
    if (text[i] == '/' && text[i + 1] == '*') {
      ++depth;
      i += 2;
    } else if (text[i] == '*' && text[i + 1] == '/') {
      i += 2;
      if (--depth == 0) return i;
    } else {
      ++i;
    }
  }
  return text.size();
}

/// `$word$` at `start`, or nothing.
std::string_view dollar_tag(std::string_view text, std::size_t start) {
  std::size_t i = start + 1;
  while (i < text.size() && text[i] != '$') {
    if (!is_word(text[i]) || (i == start + 1 && !is_word_start(text[i]))) return {};
    ++i;
  }
  return i < text.size() ? text.substr(start, i + 1 - start) : std::string_view{};
}

Token next_token(std::string_view text, std::size_t start) {
  const auto until = [&](std::size_t end) { return text.substr(start, end - start); };
  const auto while_true = [&](auto is) {
    std::size_t i = start;
    while (i < text.size() && is(text[i])) ++i;
    return i;
  };
  const char c = text[start];
  const char next = start + 1 < text.size() ? text[start + 1] : '\0';
  if (is_space(c)) return {Kind::space, until(while_true(is_space))};
  if (c == '-' && next == '-')
    return {Kind::comment, until(std::min(text.find('\n', start), text.size()))};
  if (c == '/' && next == '*') return {Kind::comment, until(end_of_comment(text, start))};
  if (c == '\'') return {Kind::literal, until(end_of_quote(text, start, false))};
  if (c == '"') return {Kind::quoted_name, until(end_of_quote(text, start, false))};
  if ((c == 'e' || c == 'E') && next == '\'')
    return {Kind::literal, until(end_of_quote(text, start + 1, true))};
  if (c == '$') {
    if (const std::string_view tag = dollar_tag(text, start); !tag.empty()) {
      const std::size_t end = text.find(tag, start + tag.size());
      return {Kind::body, until(end == std::string_view::npos ? text.size() : end + tag.size())};
    }
  }
  if (is_word_start(c)) return {Kind::word, until(while_true(is_word))};
  return {Kind::symbol, until(start + 1)};
}

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < text.size(); i += tokens.back().text.size())
    tokens.push_back(next_token(text, i));
  return tokens;
}

std::string trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

constexpr std::string_view sign_up_trigger = "on_auth_user_created";

bool is_our_schema(std::string_view word) {
  return word == "public" || word == "tally" || word == "tally_sync";
}

class Mover {
 public:
  explicit Mover(const std::string& schema) : schema_(schema) {}

  std::string moved(std::string_view script) {
    if (is_our_schema(script)) return schema_;  // A literal that is just the name.
    const std::vector<Token> tokens = tokens_of(script);
    std::string out;
    bool after_schema = false;  // The word SCHEMA and what may stand between it and names.
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const Token& token = tokens[i];
      if (token.kind == Kind::word) {
        const bool before_dot = i + 1 < tokens.size() && tokens[i + 1].text == ".";
        out += moved_word(token.text, before_dot || after_schema);
        const std::string word = lower(token.text);
        after_schema = word == "schema" ||
                       (after_schema &&
                        (word == "if" || word == "not" || word == "exists" || is_our_schema(word)));
        continue;
      }
      if (token.kind == Kind::literal || token.kind == Kind::body) {
        out += moved_quoted(token.text);
      } else {
        out += token.text;
      }
      if (token.kind != Kind::space && token.kind != Kind::comment && token.text != ",")
        after_schema = false;
    }
    return out;
  }

 private:
  std::string moved_word(std::string_view word, bool names_schema) {
    return names_schema && is_our_schema(word) ? schema_ : std::string(word);
  }

  /// The quotes stay, what they hold is moved.
  std::string moved_quoted(std::string_view text) {
    std::size_t head = 1;
    if (text.front() == '$') head = text.find('$', 1) + 1;
    if (text.front() == 'e' || text.front() == 'E') head = 2;
    const std::size_t tail = text.front() == '$' ? head : 1;
    if (text.size() < head + tail) return std::string(text);
    return std::string(text.substr(0, head)) + moved(text.substr(head, text.size() - head - tail)) +
           std::string(text.substr(text.size() - tail));
  }

  const std::string& schema_;
};

}  // namespace

std::vector<std::string> split_statements(std::string_view script) {
  std::vector<std::string> statements;
  std::string statement;
  bool says_something = false;
  const auto finish = [&] {
    if (says_something) statements.push_back(trimmed(statement));
    statement.clear();
    says_something = false;
  };
  for (const Token& token : tokens_of(script)) {
    if (token.text == ";") {
      finish();
      continue;
    }
    statement += token.text;
    says_something |= token.kind != Kind::space && token.kind != Kind::comment;
  }
  finish();
  return statements;
}

std::string essence(std::string_view script) {
  std::string out;
  for (const Token& token : tokens_of(script)) {
    if (token.kind == Kind::space || token.kind == Kind::comment || token.text == ";") continue;
    out += token.text;
    out += '\n';  // So that two words are not one.
  }
  return out;
}

std::string moved_to_schema(std::string_view script, const std::string& schema) {
  Mover mover(schema);
  if (script.find(sign_up_trigger) == std::string_view::npos) return mover.moved(script);
  std::string out;
  for (const std::string& statement : split_statements(script)) {
    const auto tokens = tokens_of(statement);
    const bool about_it = std::any_of(tokens.begin(), tokens.end(), [](const Token& token) {
      return token.kind == Kind::word && token.text == sign_up_trigger;
    });
    if (!about_it) out += mover.moved(statement) + ";\n";
  }
  return out;
}

bool is_schema_name(std::string_view name) {
  constexpr std::array<std::string_view, 6> taken{
      "tally", "tally_sync", "auth", "information_schema", "supabase_migrations", "extensions"};
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && name.size() <= 41 && std::all_of(name.begin(), name.end(), allowed) &&
         !(name.front() >= '0' && name.front() <= '9') && !name.starts_with("pg_") &&
         std::find(taken.begin(), taken.end(), name) == taken.end();
}

}  // namespace tally::sync
