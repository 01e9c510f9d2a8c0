{#- daemon.json, and who may use the engine. -#}
{%- from tpldir ~ "/map.jinja" import cold, docker, docker_sls, idle, unknown with context %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-config") }}

{%- else %}

include:
  - {{ docker_sls }}.package
{%-   if docker.daemon and cold and not unknown %}
  - {{ docker_sls }}.modules
{%-   endif %}

docker-config:
{%-   if not docker.engine.group or cold and not docker.daemon %}
  test.nop:
    - name: nothing is declared of daemon.json
{%-   elif unknown %}
  test.configurable_test_state:
    - name: docker_config is not synced to this minion yet; it would be, and would then write daemon.json
    - changes: True
{%-   else %}
  docker_config.managed:
    - name: /etc/docker/daemon.json
    {#- Not what stands there: a proxy's password has no business in the output of a highstate. #}
    - pillar: docker:daemon
    - require:
      - docker-packages
{%-     if cold %}
      - saltutil: docker-modules
{%-     endif %}
{%-   endif %}
{%-   if docker.users and docker.engine.group %}

docker-users:
  group.present:
    - name: {{ docker.engine.group }}
    - system: True
    - addusers: {{ docker.users | tojson }}
    - require:
      - docker-packages
{%-   endif %}
{%- endif %}
