/* tally_c_replay [--apply] TRACE MIRROR: applies a trace and prints its result lines, as `tally
 * replay` does: by tally_submit(), all in one commit, or with --apply a line at a time by
 * tally_apply(), the result lines made of receipts and errors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"

static void give_up(const char* what, tally_code code, const tally_error* error) {
  fprintf(stderr, "tally_c_replay: %s: %s: %s\n", what, tally_code_name(code), error->detail);
  exit(1);
}

/* The whole file; its end is a zero that `length` does not count. */
static char* read_file(const char* path, size_t* length) {
  FILE* file = fopen(path, "rb");
  char* text = NULL;
  size_t room = 0;
  *length = 0;
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  do {
    if (room - *length < 65536) text = (char*)realloc(text, room = room * 2 + 131072);
    if (text == NULL) {
      perror(path);
      exit(1);
    }
    *length += fread(text + *length, 1, 65535, file);
  } while (!feof(file) && !ferror(file));
  if (ferror(file)) {
    perror(path);
    exit(1);
  }
  fclose(file);
  text[*length] = '\0';
  return text;
}

static void submit_all(tally_engine* engine, const char* lines, size_t length) {
  tally_error error = TALLY_ERROR_INIT;
  tally_text* results = NULL;
  tally_code code = tally_submit(engine, lines, length, &results, &error);
  if (code != TALLY_OK) give_up("submit", code, &error);
  fwrite(tally_text_data(results), 1, tally_text_length(results), stdout);
  tally_text_free(results);
}

static void apply_line(tally_engine* engine, const char* line, size_t length, uint64_t number) {
  static const tally_uuid none;
  tally_error error = TALLY_ERROR_INIT;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  char text[37];
  tally_code code = tally_apply(engine, line, length, &receipt, &error);
  if (tally_code_class(code) == TALLY_CLASS_FAILURE) give_up("apply", code, &error);
  if (memcmp(&receipt.op_id, &none, sizeof none) == 0) {
    printf("{\"op_id\":null,\"result\":\"invalid_argument\",\"balance\":null,\"line\":%" PRIu64
           "}\n",
           number);
    return;
  }
  tally_uuid_format(&receipt.op_id, text);
  printf("{\"op_id\":\"%s\",\"result\":\"%s\",\"balance\":", text, tally_code_name(code));
  if ((receipt.flags & TALLY_RECEIPT_BALANCE) != 0) {
    printf("%" PRId64, receipt.balance);
  } else {
    printf("null");
  }
  if ((receipt.flags & TALLY_RECEIPT_ID) != 0) {
    tally_uuid_format(&receipt.id, text);
    printf(",\"id\":\"%s\"", text);
  }
  if (code != TALLY_OK && error.index >= 0) printf(",\"index\":%" PRId64, error.index);
  printf("}\n");
}

static void apply_all(tally_engine* engine, const char* lines, size_t length) {
  uint64_t number = 0;
  const char* end = lines + length;
  while (lines < end) {
    const char* stop = (const char*)memchr(lines, '\n', (size_t)(end - lines));
    if (stop == NULL) stop = end;
    apply_line(engine, lines, (size_t)(stop - lines), ++number);
    lines = stop + 1;
  }
}

int main(int argc, char** argv) {
  int by_line = argc == 4 && strcmp(argv[1], "--apply") == 0;
  tally_options options = TALLY_OPTIONS_INIT;
  tally_error error = TALLY_ERROR_INIT;
  tally_engine* engine = NULL;
  tally_code code;
  size_t length;
  char* lines;
  if (argc != 3 && !by_line) {
    fprintf(stderr, "usage: tally_c_replay [--apply] TRACE MIRROR\n");
    return 2;
  }
  lines = read_file(argv[argc - 2], &length);
  options.durability = TALLY_DURABILITY_NORMAL; /* A line at a time, an fsync each would take. */
  code = tally_engine_open(argv[argc - 1], strlen(argv[argc - 1]), &options, &engine, &error);
  if (code != TALLY_OK) give_up(argv[argc - 1], code, &error);
  if (by_line) {
    apply_all(engine, lines, length);
  } else {
    submit_all(engine, lines, length);
  }
  tally_engine_free(engine);
  free(lines);
  return fflush(stdout) == 0 ? 0 : 1;
}
