#pragma once
// What the shared library shows; all else in it is hidden.
#if defined(_WIN32)
#define TALLY_API
#else
#define TALLY_API __attribute__((visibility("default")))
#endif
