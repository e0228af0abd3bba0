/**
 * The seed of everything that tests draw. It is the same in every run, so that a run tells of the
 * change that it tests. `FORETOKEN_SEED=N` tries another one, and `FORETOKEN_SEED=random` draws
 * one and prints it.
 */
const { FORETOKEN_SEED: wanted } = process.env

export const seed: number = wanted === 'random' ? Math.floor(Math.random() * 2 ** 31) : Number(wanted ?? 20_261_130)

if (wanted === 'random') console.log(`FORETOKEN_SEED=${seed}`)
