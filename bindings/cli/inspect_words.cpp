#include "inspect_words.hpp"

namespace tally::cli {
namespace {

constexpr std::string_view minus = "\u2212";

/// What the ledger itself writes as a note says which of several things an entry is.
struct Meaning {
  std::string_view type;
  std::string_view note;  ///< Empty: any.
  bool of_job;
  std::string_view words;
};
constexpr std::array meanings{
    Meaning{"reserve", "Reservation converted to usage", true,
            "taken out of the hold to be charged"},
    Meaning{"reserve", "Reserved for job", true, "reserved for a job"},
    Meaning{"reserve", "Leased to device", false, "set aside in a lease, for one device to spend"},
    Meaning{"reserve", "Back to lease", false, "back into the lease that it was drawn from"},
    Meaning{"reserve", {}, true, "reserved for a job"},
    Meaning{"reserve", {}, false, "set aside"},
    Meaning{"usage", {}, true, "charged for a job"},
    Meaning{"usage", {}, false, "charged"},
    Meaning{"refund", "Job failed - credits released", true, "given back, since the job failed"},
    Meaning{"refund", "Unused credits refund", true, "given back, since the job did not need it"},
    Meaning{"refund", "Drawn from lease", false, "drawn from the lease"},
    Meaning{"refund", "Lease returned", false, "back from a lease that ended"},
    Meaning{"refund", {}, true, "given back by a job"},
    Meaning{"refund", {}, false, "refunded"},
    Meaning{"purchase", {}, false, "purchased"},
    Meaning{"subscription", {}, false, "from the subscription"},
    Meaning{"grant", {}, false, "granted"},
    Meaning{"expire", {}, false, "expired"},
};

const Meaning* meaning_of(const Entry& entry) {
  for (const Meaning& meaning : meanings) {
    if (meaning.type == entry.type && meaning.of_job == entry.job_id.has_value() &&
        (meaning.note.empty() || meaning.note == entry.note.value_or("")))
      return &meaning;
  }
  return nullptr;
}

/// Somebody's text within a sentence of ours: it must not turn the rest of that around.
std::string in_a_sentence(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view three = text.substr(i, 3);
    const bool turns = (three >= "\u202a" && three <= "\u202e") ||
                       (three >= "\u2066" && three <= "\u2069") || three == "\u2028" ||
                       three == "\u2029";
    if (turns) {
      i += 2;
    } else {
      out += text[i];
    }
  }
  return "\u2068" + shown(out, 80) + "\u2069";
}

std::string at(const Entry& entry) { return short_time(entry.created_at.text()); }

std::string sentence_of(const Entry& entry) {
  const std::int64_t amount = entry.amount.value;
  const std::string credits = credits_text(std::abs(amount));
  if (entry.type == "reserve" && amount < 0)
    return "At " + at(entry) + " " + credits + (amount == -1 ? " was" : " were") +
           " reserved: the balance went to " + thousands(entry.balance_after.value) + ".";
  if (entry.type == "reserve") return "At " + at(entry) + " the job was settled";
  if (entry.type == "usage") return credits + (amount == -1 ? " was" : " were") + " charged";
  return "At " + at(entry) + " " + credits + (amount == 1 ? " was" : " were") +
         " given back, since the job failed: the balance went to " +
         thousands(entry.balance_after.value) + ".";
}

std::string outcome(const JobView& view, const std::vector<Entry>& entries) {
  const std::string status = word(view.job, "status");
  const std::int64_t hold = view.hold.value;
  if (entries.empty())
    return status == "PENDING" ? "No credits were reserved yet; it starts once they are."
                               : "No entry of the mirror's is about this job.";
  if (hold > 0)
    return credits_text(hold) + (hold == 1 ? " is" : " are") +
           " held: charged when the job is settled, given back if it fails.";
  const std::string final_cost = word(view.job, "cost_credits_final");
  if (status == "FAILED") return "Nothing is held, and the job failed: a retry reserves anew.";
  if (!final_cost.empty())
    return "Nothing is held any more. The job cost " + credits_text(std::stoll(final_cost)) + ".";
  return "Nothing is held.";
}

}  // namespace

std::string words_of(const Entry& entry) {
  const Meaning* meaning = meaning_of(entry);
  std::string out = signed_credits(entry.amount.value, minus) + " " +
                    (meaning != nullptr ? std::string(meaning->words) : entry.type);
  const std::string note = entry.note.value_or("");
  const bool is_said = meaning != nullptr && !meaning->note.empty();
  if (!note.empty() && !is_said && note != "Video generation")
    out += " (" + in_a_sentence(note) + ")";
  return out + ", balance " + thousands(entry.balance_after.value);
}

std::string words_of(const ChartStep& step) {
  if (step.entry) return words_of(*step.entry);
  return counted(step.last_seq - step.first_seq + 1, "entry", "entries") + ", " +
         thousands(step.first_seq) + " to " + thousands(step.last_seq) + ": +" +
         thousands(step.came.value) + " came and \u2212" + thousands(step.went.value) +
         " went, between balances of " + thousands(step.low.value) + " and " +
         thousands(step.high.value) + ", balance " + thousands(step.balance.value) + " at the end";
}

std::vector<std::string> story_of(const JobView& view, const std::vector<Entry>& entries) {
  std::vector<std::string> story;
  // Settling is two or three entries of one operation, and one sentence.
  std::string settling;
  std::int64_t taken = 0;  // Out of the hold, by what is being settled.
  const auto end_sentence = [&] {
    if (!settling.empty()) story.push_back(std::exchange(settling, {}) + ".");
  };
  for (const Entry& entry : entries) {
    const bool is_rest = entry.type == "refund" && entry.note == "Unused credits refund";
    if (entry.type == "reserve" && entry.amount.value >= 0) {
      end_sentence();
      settling = sentence_of(entry);
      taken = entry.amount.value;
    } else if (!settling.empty() && entry.type == "usage") {
      settling += ": " + sentence_of(entry);
      if (-entry.amount.value > taken)
        settling += ", " + thousands(-entry.amount.value - taken) + " more than were held";
    } else if (!settling.empty() && is_rest) {
      settling += ", and " + thousands(entry.amount.value) + " that it did not need went back";
      end_sentence();
    } else {
      end_sentence();
      story.push_back(sentence_of(entry));
    }
  }
  end_sentence();
  story.push_back(outcome(view, entries));
  return story;
}

}  // namespace tally::cli
