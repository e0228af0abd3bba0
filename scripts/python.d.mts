export function pythonWith(name: string, version: string): (program: string) => string
