export function chromium(): string
export function vulkan(): Record<string, string>
