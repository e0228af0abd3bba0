/** Returns docs/server.md as `npm run docs:server` writes it. */
export function serverPage(): string
