/**
 * `npm run docs:api`: writes docs/api.md from the declarations of src/index.ts. `--check` compares
 * instead, for CI.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { root } from './setup.mjs'

const page = join(root, 'docs', 'api.md')

/** Returns the page: each exported name with its comment and declaration, grouped by file. */
export function apiPage() {
  const out = mkdtempSync(join(tmpdir(), 'foretoken-api-'))
  try {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', out], {
      cwd: root,
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(`tsc failed:\n${stdout}`)
    const index = readFileSync(join(out, 'src', 'index.d.ts'), 'utf8')
    const sections = [...index.matchAll(/export (?:type )?\{([^}]*)\} from '([^']+)'/g)].map(([, names, from]) => {
      const file = resolve(out, 'src', from.replace(/\.(ts|js)$/, '.d.ts'))
      const text = readFileSync(file, 'utf8')
      const wanted = names
        .split(',')
        .map((name) => name.replace(/^\s*type\s+/, '').trim())
        .filter(Boolean)
      const source = relative(out, file).replaceAll('\\', '/').replace('.d.ts', '.ts')
      return [`## \`${source}\``, '', ...wanted.flatMap((name) => declared(text, name, source))].join('\n')
    })
    return [
      '# API reference',
      '',
      'Made from the types of `src/index.ts` by `npm run docs:api`. `foretoken` exports all of it; `foretoken/node` exports it, too, with `loadEngine` and what else needs files.',
      '',
      ...sections,
    ].join('\n')
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
}

/** Returns a declaration with the comment before it, without private members. */
function declared(text, name, source) {
  const found = new RegExp(
    `^export (?:declare )?(?:abstract )?(?:class|function|interface|type|const) ${name}\\b`,
    'm',
  ).exec(text)
  if (!found) throw new Error(`${source} declares no ${name}`)
  const before = text.slice(0, found.index)
  const [comment = ''] = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*$/.exec(before) ?? []
  let depth = 0
  let end = found.index
  const block = /^export (?:declare )?(?:abstract )?(?:class|interface)/.test(found[0])
  for (; end < text.length; end++) {
    const char = text[end]
    if ('{(['.includes(char)) depth++
    if ('})]'.includes(char)) depth--
    if (depth === 0 && (block ? char === '}' : char === ';')) break
  }
  const body = text
    .slice(found.index, end + 1)
    .replace(/^export (?:declare )?/, '')
    .replace(/^ +(?:#private|private [^\n]*);\n/gm, '')
    .replace(/^ {4}/gm, '  ')
  return [`### ${name}`, '', '```ts', ...(comment ? [comment.trim()] : []), body, '```', '']
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const made = apiPage()
  if (!process.argv.includes('--check')) writeFileSync(page, made)
  else if (readFileSync(page, 'utf8') !== made) {
    console.error(`${relative(dirname(fileURLToPath(import.meta.url)), page)} is out of date; run npm run docs:api`)
    process.exit(1)
  }
}
