#include <cstdio>
#include <tally/engine.hpp>
using namespace tally;

int main() {
  auto engine = Engine::open("mirror.db");
  if (!engine) return std::fprintf(stderr, "%s\n", engine.error().detail.c_str()), 1;

  const Uuid ada = new_uuid_v7(), film = new_uuid_v7(), job = new_uuid_v7();
  (void)engine->apply(CreateUser{ada});  // Comes with 10 trial credits.
  (void)engine->apply(CreateProject{film, ada, "Film", "A lighthouse at dawn", "history"});
  (void)engine->apply(CreateJob{job, film, ada});

  const auto reserved = engine->apply(ReserveCredits{ada, job, Credits{8}});
  if (!reserved) return std::puts(reserved.error().detail.c_str()), 1;
  (void)engine->apply(FinalizeJobCredits{job, Credits{5}});  // What was not used comes back.

  std::printf("%lld credits\n", static_cast<long long>(engine->balance(ada)->value));  // 5 credits
}
