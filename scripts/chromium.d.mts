export function chromium(): string
export function foundChromium(): string | undefined
export function vulkan(): Record<string, string>
