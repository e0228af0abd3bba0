/** fast-check with the seed of all tests, where its own default is a new one for every run. */
import fc from 'fast-check'
import { seed } from './seed.ts'

fc.configureGlobal({ seed })

export default fc
