/**
 * `foretoken/edge`: the OpenAI-compatible app and its options. Each host has its own entry beside
 * it: `node.ts`, `deno.ts`, `bun.ts`.
 */
export { type AppOptions, createApp } from './app.ts'
export { type Config, parsedConfig, type ServerConfig } from './config.ts'
export type { EngineSource, HostContext } from './engine-holder.ts'
export { ApiError } from './errors.ts'
export type { LogLine } from './record.ts'
export type { Page, PageFile, PageModel } from './web-page.ts'
