/** docs/server.md as `npm run docs:server` would write it. */
export function serverPage(): string
