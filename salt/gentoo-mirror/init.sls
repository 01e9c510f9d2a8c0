{#- The second user of the engine, beside pipmirror: everything for `state.apply gentoo-mirror`. Only names are passed;
    the settings are read in the module, where a faulty pillar becomes one failing state. -#}
{%- set declared = salt["pillar.get"]("gentoo_mirror") or opts.get("gentoo_mirror") or {} -%}
{%- set wanted = declared.get("engine_sls", "docker") if declared is mapping else "" -%}
{#- The tree may lie in a sub-directory of the file root: the other SLS are our siblings there. -#}
{%- set beside = sls.rpartition("gentoo-mirror")[0] -%}
{%- set engine = beside ~ "docker" if wanted == "docker" else (wanted if wanted is string else "") -%}
{%- set loaded = "gentoo_mirror.plan" in salt %}

include:
  - {{ (beside ~ "pipmirror.python") | tojson }}
{%- if engine %}
  - {{ engine | tojson }}
{%- endif %}

{%- if not loaded %}

gentoo-mirror-modules:
{%-   if opts.get("test", False) %}
  test.configurable_test_state:
    - name: gentoo_mirror is not synced yet, so nothing can be said of the mirror
    - changes: True
    - result: True
    - comment: It would be synced, and the mirror would be filled.
{%-   else %}
  saltutil.sync_all:
    - refresh: True
    - reload_modules: True
    - require:
      - sls: {{ (beside ~ "pipmirror.python") | tojson }}
{%-   endif %}
{%- endif %}

{%- if loaded or not opts.get("test", False) %}

gentoo-mirror:
  gentoo_mirror.synced:
    - name: the Gentoo mirror
{%-   if not loaded or engine %}
    - require:
{%-     if not loaded %}
      - saltutil: gentoo-mirror-modules
{%-     endif %}
{%-     if engine %}
      - sls: {{ engine | tojson }}
{%-     endif %}
{%-   endif %}
{%- endif %}
