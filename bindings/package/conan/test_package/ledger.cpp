#include <cstdio>
#include <tally/engine.hpp>

int main() {
  auto engine = tally::Engine::open("mirror.db");
  const auto user = tally::new_uuid_v7();
  if (!engine || !engine->apply(tally::CreateUser{user})) return 1;
  std::printf("%lld credits\n", static_cast<long long>(engine->balance(user)->value));
}
