#!/usr/bin/env node
/** Starts the `foretoken` command, with the compiled code of earlier runs. */
import * as module from 'node:module'
import { join } from 'node:path'
import { home } from '../node/home.ts'

// Compiling took a quarter of a short run. Node 20 keeps no compiled code, and a folder that cannot
// be written is no error. NODE_COMPILE_CACHE and NODE_DISABLE_COMPILE_CACHE mean what they do in
// Node.
if (!process.env.NODE_COMPILE_CACHE) module.enableCompileCache?.(join(home(), 'code'))
await import('./command.ts')
