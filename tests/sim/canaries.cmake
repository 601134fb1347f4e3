# Builds of the simulator that are wrong on purpose, one for each invariant: a source with one place
# changed. The auditor has to notice, and to say which invariant does not hold any more.
#
# tally_sim_canary(NAME FILE path NOTICED invariant FIND text REPLACE text)

function(tally_sim_canary name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "FILE;NOTICED;FIND;REPLACE" "")
  set(source "${PROJECT_SOURCE_DIR}/${arg_FILE}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  file(READ "${source}" text)
  string(FIND "${text}" "${arg_FIND}" first)
  string(FIND "${text}" "${arg_FIND}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "canary ${name}: its place in ${arg_FILE} must be there, once: ${arg_FIND}")
  endif()
  string(REPLACE "${arg_FIND}" "${arg_REPLACE}" text "${text}")
  get_filename_component(file "${source}" NAME)
  get_filename_component(folder "${source}" DIRECTORY)
  set(changed "${CMAKE_CURRENT_BINARY_DIR}/canaries/${name}/${file}")
  file(CONFIGURE OUTPUT "${changed}" CONTENT "${text}" @ONLY)

  # The engine's own object stays in its library, since what it defines is there already.
  add_executable(tally_sim_${name} "${changed}" $<TARGET_OBJECTS:tally_sim_objects>
    "$<FILTER:$<TARGET_OBJECTS:tally_test_model>,EXCLUDE,/${file}.o$>"
    "$<FILTER:$<TARGET_OBJECTS:tally_test_canonical>,EXCLUDE,/${file}.o$>")
  target_include_directories(tally_sim_${name} PRIVATE "${folder}" "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(tally_sim_${name} PRIVATE tally_options
    tally_engine_objects_sql_mirror ${sim_libraries})
  add_test(NAME sim_canary.${name} COMMAND tally_sim_${name} --seeds 3000 --expect ${arg_NOTICED})
  set_tests_properties(sim_canary.${name} PROPERTIES TIMEOUT 600)
endfunction()

tally_sim_canary(i1_conservation
  FILE tests/model/state.cpp NOTICED I1
  FIND [[append(operation, job.user_id, &job, "usage", -cost, "Video generation");]]
  REPLACE [[append(operation, job.user_id, &job, "usage", 1 - cost, "Video generation");]])

tally_sim_canary(i2_no_overdraft
  FILE tests/model/state.cpp NOTICED I2
  FIND [[if (accounts_.at(user).balance >= amount) return {};]]
  REPLACE [[if (accounts_.at(user).balance >= amount - 9) return {};]])

tally_sim_canary(i3_append_only
  FILE tests/model/state.cpp NOTICED I3
  FIND [[  job.cost_credits_final = cost;
}]]
  REPLACE [[  job.cost_credits_final = cost;
  accounts_.at(job.user_id).entries[job.entries.front()].note = "Settled";
}]])

tally_sim_canary(i4_running_balance
  FILE tests/model/state.cpp NOTICED I4
  FIND [[entry.balance_after = account.balance += amount;]]
  REPLACE [[entry.balance_after = account.balance;
  account.balance += amount;]])

tally_sim_canary(i5_one_hold
  FILE tests/model/state.cpp NOTICED I5
  FIND [[  release(op, job);
  job.failed_step.reset();]]
  REPLACE [[  job.failed_step.reset();]])

# What is applied twice shows as credits that nobody paid or got.
tally_sim_canary(i6_exactly_once
  FILE tests/model/state.cpp NOTICED I1
  FIND [[if (const auto before = seen_before(user, operation)) return *before;]]
  REPLACE [[if (const auto before = seen_before(user, operation)) postings_ = 0;]])

tally_sim_canary(i7_power_cut
  FILE engine/src/mirror.cpp NOTICED I7
  FIND [[db.exec(full ? "pragma synchronous = full" : "pragma synchronous = normal");]]
  REPLACE [[db.exec(full ? "pragma synchronous = off" : "pragma synchronous = normal");]])

tally_sim_canary(i8_convergence
  FILE engine/src/intake.cpp NOTICED I8
  FIND [[erase(u, gone.first, gone.second);]]
  REPLACE [[(void)u;]])

tally_sim_canary(i9_canonical_decides
  FILE engine/src/intake.cpp NOTICED I9
  FIND [[    insert_rejected(db_, record, record.code, judged.index, now_);
]]
  REPLACE [[]])

# What a pull misses shows as halves that are not equal.
tally_sim_canary(i10_no_gaps
  FILE tests/model/feed.cpp NOTICED I8
  FIND [[user->by_revision.lower_bound({revision + 1, Key{}});
       row != user->by_revision.end(); ++row)
    out.]]
  REPLACE [[user->by_revision.lower_bound({revision + 2, Key{}});
       row != user->by_revision.end(); ++row)
    out.]])

tally_sim_canary(i11_leased_credits
  FILE tests/model/state.cpp NOTICED I11
  FIND [[if (is_mine && found->second.unspent >= amount) return {true};]]
  REPLACE [[if (is_mine && found->second.unspent >= amount) return {false, "insufficient_credits"};]])

tally_sim_canary(i12_least_privilege
  FILE tests/model/state.cpp NOTICED I12
  FIND [[if (lacks_capability(operation)) return {"not_permitted"};]]
  REPLACE [[if (lacks_capability(operation)) postings_ = 0;]])

# The same of the engine and of sync, though canonical has the last word: each shows on a mirror
# before it is put right, or in what was pushed.
tally_sim_canary(i1_engine
  FILE engine/src/engine.cpp NOTICED I1
  FIND [[      balances_.put(u, row);]]
  REPLACE [[      (void)row;]])

tally_sim_canary(i2_engine
  FILE engine/src/work.cpp NOTICED I2
  FIND [[return store.accounts.get(u).balance < amount.value ?]]
  REPLACE [[return store.accounts.get(u).balance + 9 < amount.value ?]])

tally_sim_canary(i4_engine
  FILE engine/src/store.cpp NOTICED I4
  FIND [[e - account.head, j, kind,
                           amount, account.balance});]]
  REPLACE [[e - account.head, j, kind,
                           amount, account.balance - amount});]])

tally_sim_canary(i5_engine
  FILE engine/src/jobs.cpp NOTICED I5
  FIND [[  if (store.jobs.get(j).hold > 0) release(work, j);
]]
  REPLACE [[]])

# The mirror's own constraint stops it, which is a failure without a cause.
tally_sim_canary(i6_engine
  FILE engine/src/work.cpp NOTICED I7
  FIND [[  if (before != nullptr) {
    call.remembered = false;]]
  REPLACE [[  if (before != nullptr && !is_same(*before)) {
    call.remembered = false;]])

# What a device drew on its lease is not taken off it, and the next one bounces.
tally_sim_canary(i11_engine
  FILE engine/src/work.cpp NOTICED I11
  FIND [[  fill_in(call_->command->lease, lease->lease_id);
  store.leases.edit(u).unspent -= amount.value;]]
  REPLACE [[  fill_in(call_->command->lease, lease->lease_id);]])

# Dismissed as if sync itself had asked for it, before the host has read it.
tally_sim_canary(i9_exchange
  FILE sync/src/exchange.cpp NOTICED I9
  FIND [[if (refills_.erase(rejected.command.op_id) == 0) return;]]
  REPLACE [[refills_.erase(rejected.command.op_id);]])
