/** Loads a part of the page when it is first used. */
import { useEffect, useState } from 'preact/hooks'

interface Later<T> {
  readonly part?: T
  /** Why the part could not be loaded. */
  readonly failed?: string
}

/** Returns what `load` imports, once it is wanted. A failure is tried again when it is wanted again. */
export function useLater<T extends object>(load: () => Promise<T>, wanted: boolean): Later<T> {
  const [state, setState] = useState<Later<T>>({})
  useEffect(() => {
    if (!wanted || state.part) return
    let left = false
    setState({})
    load().then(
      (part) => !left && setState({ part }),
      (error) => !left && setState({ failed: `this part of the page can't be loaded: ${(error as Error).message}` }),
    )
    return () => {
      left = true
    }
  }, [wanted])
  return state
}
