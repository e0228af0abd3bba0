export function buildPage(): Promise<Map<string, Uint8Array>>
