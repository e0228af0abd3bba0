export function lavapipe(): { readonly [name: string]: string } | undefined
