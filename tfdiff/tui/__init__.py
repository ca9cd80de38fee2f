"""The viewer (`tfdiff view`): the only package that imports Textual. It shows a result and computes nothing.

`app` is the entry (`run_viewer`); `verdict`, `sitemap`, `detail` and `help` are the panes; `data` is what they show.
Nothing is imported here, so that `import tfdiff.tui` alone costs nothing.
"""
