/** A wasm file in a Worker's bundle is a compiled module. */
declare module '*.wasm' {
  const module: WebAssembly.Module
  export default module
}
