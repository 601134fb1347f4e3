// A customer with ten trial credits has a film made for eight, and then wants another.
//
//   node example.mjs [mirror.db]

import * as tally from 'tally';

const engine = await tally.open(process.argv[2] ?? 'mirror.db');
engine.on('low_credits', ({ balance }) => console.log(`only ${balance} credits left`));

const [ada, film] = [tally.uuid(), tally.uuid()];
await engine.create_user({ user_id: ada }); // Comes with 10 trial credits.
await engine.create_project({
  project_id: film,
  user_id: ada,
  title: 'Film',
  prompt_text: 'A lighthouse at dawn',
  niche_preset: 'history',
  target_minutes: 3,
});

await engine.job({ user_id: ada, project_id: film, amount: 8 }, async (job) => {
  await job.advance('SCRIPTING');
  await job.progress(50);
  // ... the work; where it throws, the job fails and the credits come back.
  await job.complete({ final_cost: 6 });
});
console.log(`${engine.balance(ada)} credits`); // 4 credits, at once: a balance is in memory.

try {
  await engine.job({ user_id: ada, project_id: film, amount: 8 }, () => {});
} catch (error) {
  if (error.code !== 'insufficient_credits') throw error;
  console.log('not enough for another');
}

for await (const entry of engine.entries(ada)) {
  console.log(`${entry.seq} ${entry.type} ${entry.amount}: ${entry.balance_after}`);
}
await engine.close();
