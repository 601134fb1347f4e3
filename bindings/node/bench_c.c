/* The C calls that bench.js compares with, in a process beside it that measures when it is told to.
 *
 *   bench_c FULL.db NORMAL.db
 *
 * A line `balance 1000`, `full 16` or `normal 16` has it make so many calls; it answers with
 * nanoseconds a call.
 *
 * It has a thread that does nothing, as every host that is worth comparing with has some: in a
 * process with one thread alone libc's locks and the kernel's files are cheaper. */

#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"

struct world {
  tally_engine* engine;
  tally_uuid user_id;
  tally_uuid project_id;
};

static tally_error error = TALLY_ERROR_INIT;

static void must(tally_code code) {
  if (code == TALLY_OK) return;
  fprintf(stderr, "bench_c: %s: %s\n", tally_code_name(code), error.detail);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void apply(tally_engine* engine, const char* format, const tally_uuid* a,
                  const tally_uuid* b) {
  char first[37];
  char second[37] = "";
  char json[512];
  tally_uuid_format(a, first);
  if (b != NULL) tally_uuid_format(b, second);
  const int length = snprintf(json, sizeof json, format, first, second);
  must(tally_apply(engine, json, (size_t)length, NULL, &error));
}

static struct world open_world(const char* path, int32_t durability) {
  struct world world = {NULL, {{0}}, {{0}}};
  tally_options options = TALLY_OPTIONS_INIT;
  options.durability = durability;
  must(tally_engine_open(path, strlen(path), &options, &world.engine, &error));
  must(tally_uuid_new(&world.user_id));
  must(tally_uuid_new(&world.project_id));
  apply(world.engine, "{\"op\":\"create_user\",\"user_id\":\"%s\"}", &world.user_id, NULL);
  apply(world.engine,
        "{\"op\":\"create_project\",\"project_id\":\"%s\",\"user_id\":\"%s\",\"title\":\"t\","
        "\"prompt_text\":\"p\",\"niche_preset\":\"facts\",\"target_minutes\":1}",
        &world.project_id, &world.user_id);
  must(tally_add_credits(world.engine, &world.user_id, 100000000, TALLY_ENTRY_GRANT, NULL, 0, NULL,
                         NULL, &error));
  return world;
}

static double balances(const struct world* world, int count) {
  const double start = now();
  for (int i = 0; i < count; ++i)
    if (tally_engine_balance_value(world->engine, &world->user_id) < 0) exit(1);
  return (now() - start) / count;
}

static double reservations(const struct world* world, int count) {
  tally_uuid* jobs = malloc((size_t)count * sizeof *jobs);
  if (jobs == NULL) exit(1);
  for (int i = 0; i < count; ++i) {
    must(tally_uuid_new(&jobs[i]));
    must(tally_create_job(world->engine, &jobs[i], &world->project_id, &world->user_id, NULL, NULL,
                          &error));
  }
  const double start = now();
  for (int i = 0; i < count; ++i)
    must(tally_reserve_credits(world->engine, &world->user_id, &jobs[i], 1, NULL, NULL, &error));
  const double time = now() - start;
  free(jobs);
  return time / count;
}

static void* rest(void* nothing) {
  for (;;) pause();
  return nothing;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  pthread_t thread;
  if (pthread_create(&thread, NULL, rest, NULL) != 0) return 1;
  const struct world full = open_world(argv[1], TALLY_DURABILITY_FULL);
  const struct world normal = open_world(argv[2], TALLY_DURABILITY_NORMAL);
  char what[16];
  int count = 0;
  while (scanf("%15s %d", what, &count) == 2 && count > 0) {
    const double ns = strcmp(what, "balance") == 0 ? balances(&full, count)
                      : strcmp(what, "full") == 0  ? reservations(&full, count)
                                                   : reservations(&normal, count);
    printf("%.3f\n", ns);
    fflush(stdout);
  }
  tally_engine_free(full.engine);
  tally_engine_free(normal.engine);
  return 0;
}
