/* A job's credits, from reservation to settlement, in C. Prints `5 credits`. */
#include <stdio.h>
#include <string.h>
#include <tally.h>

static int refused(const char* what, const tally_error* error) {
  fprintf(stderr, "%s: %s: %s\n", what, tally_code_name(error->code), error->detail);
  return 1;
}

int main(void) {
  tally_error error = TALLY_ERROR_INIT;
  tally_engine* engine = NULL;
  tally_uuid user, project, job;
  char user_text[37], project_text[37], line[256];
  int64_t balance = -1;

  if (tally_abi_version() != TALLY_ABI_VERSION) return puts("another ABI"), 1;
  if (tally_engine_open("mirror.db", strlen("mirror.db"), NULL, &engine, &error) != TALLY_OK)
    return refused("open", &error);
  if (tally_uuid_new(&user) || tally_uuid_new(&project) || tally_uuid_new(&job)) return 1;
  tally_uuid_format(&user, user_text);
  tally_uuid_format(&project, project_text);

  snprintf(line, sizeof line, "{\"op\":\"create_user\",\"user_id\":\"%s\"}", user_text);
  if (tally_apply(engine, line, strlen(line), NULL, &error) != TALLY_OK)
    return refused("create_user", &error);
  snprintf(
      line, sizeof line,
      "{\"op\":\"create_project\",\"project_id\":\"%s\",\"user_id\":\"%s\",\"title\":\"Film\","
      "\"prompt_text\":\"A lighthouse at dawn\",\"niche_preset\":\"history\",\"target_minutes\":3}",
      project_text, user_text);
  if (tally_apply(engine, line, strlen(line), NULL, &error) != TALLY_OK)
    return refused("create_project", &error);

  if (tally_create_job(engine, &job, &project, &user, NULL, NULL, &error) != TALLY_OK ||
      tally_reserve_credits(engine, &user, &job, 8, NULL, NULL, &error) != TALLY_OK ||
      tally_finalize_job_credits(engine, &job, 5, NULL, NULL, &error) != TALLY_OK ||
      tally_engine_balance(engine, &user, &balance, &error) != TALLY_OK)
    return refused("the job", &error);
  if (tally_reserve_credits(engine, &user, &job, 8, NULL, NULL, &error) == TALLY_OK)
    return puts("a job that is settled was paid again"), 1;

  printf("%lld credits\n", (long long)balance);
  tally_engine_free(engine);
  return 0;
}
