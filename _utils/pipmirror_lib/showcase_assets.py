"""The style sheet of the pages for people; source, because Salt syncs nothing but Python files."""

from __future__ import annotations

CSS = """\
:root {
  color-scheme: light dark;
  --page: #fff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --soft: #f3f5f7;
  --good: #116329; --bad: #b3261e; --link: #0b57d0; --mine: #dbe9ff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --text: #e6e9ec; --quiet: #a4adb6; --line: #3a424a; --soft: #1f2429;
    --good: #6fdc8c; --bad: #ff9b92; --link: #8ab4f8; --mine: #1d3354;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { scroll-padding-top: 4.5rem; }
body {
  font: 1rem/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem 1.25rem 3rem;
  background: var(--page); color: var(--text);
}
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
h1 { display: inline-block; margin: .5rem 1rem .25rem 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 1.5rem 0 .5rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1.25rem; margin: .5rem 0; }
dt { color: var(--quiet); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; }
code { font: .875em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
footer { margin-top: 2rem; color: var(--quiet); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem 1.25rem .5rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 400; }
.good, .bad { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); }
.good::before { content: "\\2713  " / ""; }
.bad { color: var(--bad); }
.bad::before { content: "\\2717  " / ""; }
.missing { border-left: .25rem solid var(--bad); padding: .1rem 1rem .5rem; background: var(--soft); }
.missing h2 { margin-top: .5rem; }
.copy {
  display: flex; gap: .75rem; align-items: center; justify-content: space-between;
  background: var(--soft); border-radius: .4rem; padding: .35rem .75rem; margin: .35rem 0;
}
.plain { color: var(--quiet); }
button, input {
  font: inherit; color: inherit; background: var(--page); border: 1px solid var(--quiet); border-radius: .4rem;
  padding: .2rem .75rem;
}
button { cursor: pointer; white-space: nowrap; }
button:hover { background: var(--soft); }
input { flex: 0 1 26rem; min-width: 0; padding: .4rem .75rem; }
::placeholder { color: var(--quiet); opacity: 1; }
.search {
  position: sticky; top: 0; z-index: 1; background: var(--page); padding: .6rem 0; margin: 0;
  display: flex; gap: .25rem .75rem; align-items: center;
}
#found { color: var(--quiet); white-space: nowrap; }
summary { cursor: pointer; }
.sets { margin: 1rem 0; }
.project {
  border-top: 1px solid var(--line); padding: .3rem 0; content-visibility: auto; contain-intrinsic-size: auto 2.35rem;
}
.project summary { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; padding: .1rem .25rem; }
.project summary span { font-variant-numeric: tabular-nums; margin-left: .35rem; }
.project i { color: var(--quiet); font-style: normal; margin-left: .5rem; }
.tag {
  font-style: normal; font-size: .8rem; color: var(--quiet); border: 1px solid var(--line); border-radius: 1rem;
  padding: 0 .5rem; margin-left: .35rem;
}
.project[open] { background: var(--soft); }
.project[open] summary { white-space: normal; }
.project summary:focus-visible { outline-offset: -3px; }
.project p { margin: .4rem 1.2rem; overflow-wrap: anywhere; }
.project ul { padding-left: 2.4rem; margin: .4rem 0; }
.project li { overflow-wrap: anywhere; margin-bottom: .3rem; }
.project li code { color: var(--quiet); }
.project button { margin: .25rem .35rem 0 0; }
dialog {
  width: min(62rem, 96vw); max-height: 94vh; color: var(--text); background: var(--page);
  border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.25rem;
}
dialog::backdrop { background: #0009; }
.bar { display: flex; gap: .5rem; align-items: center; }
.bar h2 { flex: 1; margin: 0; overflow-wrap: anywhere; }
#drawing { overflow: auto; max-height: 64vh; margin: .75rem 0; }
#related { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 0 2rem; }
#related h3 { font-size: 1rem; margin: .5rem 0 0; }
#related ul { padding-left: 1.2rem; margin: .25rem 0; max-height: 12rem; overflow: auto; }
svg { display: block; margin: 0 auto; }
svg rect { fill: var(--soft); stroke: var(--line); }
svg .mine rect { fill: var(--mine); stroke: var(--link); }
svg text { fill: var(--text); font: 14px system-ui, sans-serif; }
svg .mine text { font-weight: 600; }
svg .head { fill: var(--quiet); }
svg .other { cursor: pointer; }
svg .other:hover rect { stroke: var(--link); stroke-width: 2; }
svg path { stroke: var(--quiet); stroke-width: 1.5; fill: none; opacity: .7; }
.offscreen { position: fixed; left: -100vw; }
@media (max-width: 40rem) {
  body { padding: .75rem .75rem 2rem; }
  .copy, .search { flex-wrap: wrap; }
  section dl, .sets dl { grid-template-columns: 1fr; gap: 0; }
  section dd, .sets dd { margin-bottom: .4rem; }
  html { scroll-padding-top: 6rem; }
  #found { margin-left: auto; }
  input { flex-basis: 100%; order: 1; }
  thead { position: absolute; clip-path: inset(50%); }
  tr { display: block; padding: .35rem 0; border-bottom: 1px solid var(--line); }
  th, td { display: flex; gap: 1.25rem; padding: .1rem 0; border: 0; white-space: normal; overflow-wrap: anywhere; }
  td::before { content: attr(data-name) / ""; flex: 0 0 6rem; color: var(--quiet); }
}
@media print { .search, .copy button, .project button { display: none; } }
"""
