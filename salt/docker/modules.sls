{#- For a minion that has never synced the functions that the states beside this one need; they include it then. -#}
docker-modules:
  saltutil.sync_all:
    - refresh: True
    - reload_modules: True
