{#- A container engine, installed, configured and running. Whoever needs one says `require: - sls: docker`, so there is
    always at least one state here, and it comes last. Nothing restarts an engine whose configuration stays the same. -#}
{%- set told = salt["pillar.get"]("docker", {}) %}
{%- if told is mapping and told.get("managed") is sameas false %}

docker-engine:
  test.nop:
    - name: the engine is not managed here (docker:managed is False)

{#- Only here: what follows costs a highstate that leaves the engine alone a twentieth of its time. #}
{%- else %}
{%- from tpldir ~ "/map.jinja" import docker with context %}
{%- if docker.faults %}

docker-engine:
{%-   if grains["saltversioninfo"][0] >= 3007 %}
  test.configurable_test_state:
    - name: docker
    - result: False
    - changes: False
    - allow_test_mode_failure: True
{%-   else %}
  test.fail_without_changes:
    {#- Under test=True this function drops the comment. #}
    - name: {{ (docker.faults | join("\n") if opts.get("test") else "docker") | tojson }}
{%-   endif %}
    - comment: {{ docker.faults | join("\n") | tojson }}

{%- else %}

include:
  - .service
{%-   if docker.python %}
  - .python
{%-   endif %}

docker-engine:
  test.nop:
    - name: {{ docker.provider }} is set up
    - require:
      - sls: {{ sls }}.service
{%-   if docker.python %}
      - sls: {{ sls }}.python
{%-   endif %}
{%- endif %}
{%- endif %}
