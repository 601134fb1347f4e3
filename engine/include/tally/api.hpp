#pragma once
// What the shared library shows; all else in it is hidden.
#if defined(_WIN32) && defined(TALLY_BUILDS_LIBRARY)
#define TALLY_API __declspec(dllexport)  // As soon as one has it, what has not is hidden.
#elif defined(_WIN32)
#define TALLY_API  // Functions are found without dllimport, too, and no data is shown.
#else
#define TALLY_API __attribute__((visibility("default")))
#endif
