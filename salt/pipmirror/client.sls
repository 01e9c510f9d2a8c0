{#- pip and uv of this machine install from the mirror; settings stand in the pillar key pipmirror_client. -#}
{%- set settings = salt["pillar.get"]("pipmirror_client") or opts.get("pipmirror_client") %}
{#- Anything else that stands there is for the module to judge. #}
{%- set absent = settings is mapping and settings.get("absent") is sameas true %}
{%- set cold = "pipmirror_client.configure" not in salt %}
{%- if cold and opts.get("test") %}

pipmirror-client:
  test.configurable_test_state:
    - name: pip and uv
    - changes: True
    - comment: pipmirror_client is not synced to this minion yet; it would be, and would then write their configuration

{%- else %}
{%-   if cold %}

pipmirror-client-modules:
  saltutil.sync_all:
    - refresh: True
    - reload_modules: True
{%-   endif %}

pipmirror-client:
  pipmirror_client.{{ "absent" if absent else "configured" }}:
    - name: pip and uv
{%-   if cold %}
    - require:
      - saltutil: pipmirror-client-modules
{%-   endif %}
{%- endif %}
