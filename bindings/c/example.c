/* A day of one job, offline: ./example MIRROR
 *
 * Everything that can fail is asked whether it did: a refusal is an everyday answer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"

static tally_error error = TALLY_ERROR_INIT;

static void must(tally_code code, const char* what) {
  if (code == TALLY_OK) return;
  fprintf(stderr, "%s: %s: %s\n", what, tally_code_name(code), error.detail);
  exit(1);
}

/* Any operation, as its JSON; op_id and time are the engine's to make. */
static void apply(tally_engine* engine, const char* json) {
  must(tally_apply(engine, json, strlen(json), NULL, &error), json);
}

static void new_id(tally_uuid* id, char text[37]) {
  must(tally_uuid_new(id), "an id");
  tally_uuid_format(id, text);
}

int main(int argc, char** argv) {
  tally_engine* engine = NULL;
  tally_uuid user_id, project_id, job_id;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  tally_check check = TALLY_CHECK_INIT;
  size_t holds = 0;
  char user[37], project[37], job[37], json[512];

  if (argc != 2) {
    fprintf(stderr, "usage: %s MIRROR\n", argv[0]);
    return 2;
  }
  must(tally_engine_open(argv[1], strlen(argv[1]), NULL, &engine, &error), argv[1]);

  new_id(&user_id, user);
  new_id(&project_id, project);
  new_id(&job_id, job);
  snprintf(json, sizeof json, "{\"op\":\"create_user\",\"user_id\":\"%s\"}", user);
  apply(engine, json); /* 10 credits to start with */
  must(tally_add_credits(engine, &user_id, 20, TALLY_ENTRY_PURCHASE, NULL, 0, NULL, NULL, &error),
       "add_credits");
  snprintf(json, sizeof json,
           "{\"op\":\"create_project\",\"project_id\":\"%s\",\"user_id\":\"%s\",\"title\":\"Rome\","
           "\"prompt_text\":\"Why did Rome fall?\",\"niche_preset\":\"history\","
           "\"target_minutes\":3}",
           project, user);
  apply(engine, json);
  must(tally_create_job(engine, &job_id, &project_id, &user_id, NULL, NULL, &error), "create_job");

  must(tally_reserve_credits(engine, &user_id, &job_id, 8, NULL, &receipt, &error),
       "reserve_credits");
  printf("reserved 8, balance %" PRId64 "\n", receipt.balance);

  /* Too much is refused, and changes nothing. */
  if (tally_reserve_credits(engine, &user_id, &job_id, 8, NULL, NULL, &error) != TALLY_OK)
    printf("refused: %s\n", tally_code_name(error.code));

  for (int32_t stage = TALLY_JOB_QUEUED; stage <= TALLY_JOB_PACKAGING; ++stage)
    must(tally_advance_job(engine, &job_id, stage, NULL, 0, NULL, NULL, &error), "advance_job");
  must(tally_complete_job(engine, &job_id, 5, "https://cdn.example/rome.mp4", 28, NULL, &receipt,
                          &error),
       "complete_job");
  printf("settled at 5, balance %" PRId64 "\n", receipt.balance);

  must(tally_engine_account(engine, &user_id, &check, NULL, 0, &holds, &error), "account");
  printf("account: balance %" PRId64 ", held %" PRId64 ", entries %" PRId64 ", open holds %lu\n",
         check.balance, check.held, check.entries, (unsigned long)holds);
  tally_engine_free(engine);
  return 0;
}
